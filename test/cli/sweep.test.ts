import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { insertDeletion } from "../../src/data/deletions.ts";
import { insertPasswordReset } from "../../src/data/password-resets.ts";
import { insertSession } from "../../src/data/sessions.ts";
import { openSqlite } from "../../src/data/sqlite.ts";
import { startTestApp } from "../support/app.ts";
import { runCli } from "../support/cli.ts";

const HOUR = 60 * 60 * 1000;

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-sweep-"));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

/** The blobs of a data folder. */
async function blobsIn(folder: string): Promise<string[]> {
  const root = join(folder, "blobs");
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .sort();
}

async function putBlob(folder: string, key: string, hoursOld: number): Promise<string> {
  const path = join(folder, "blobs", key);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, "x");
  const time = new Date(Date.now() - hoursOld * HOUR);
  await utimes(path, time, time);
  return key;
}

/** A folder whose server has run: two documents, and some of everything that can be left behind. */
async function leftBehind(t: TestContext) {
  const folder = await temporaryFolder(t);
  const app = await startTestApp({ folder });
  const { id: userId } = await app.as("user");
  for (const filename of ["a.txt", "تقرير.pdf"])
    await app.call("POST", "/api/v1/docs/upload", {
      as: "user",
      multipart: [{ name: "file", filename, data: filename }],
    });
  await app.close();
  const documents = await blobsIn(folder);
  for (const key of documents) {
    const time = new Date(Date.now() - 48 * HOUR);
    await utimes(join(folder, "blobs", key), time, time);
  }
  const stray = await putBlob(folder, `${randomUUID()}/stray.txt`, 25);
  const young = await putBlob(folder, `${randomUUID()}/young.txt`, 23);
  const foreign = await putBlob(folder, "letters/old.txt", 1000);
  const due = await putBlob(folder, `${randomUUID()}/due.txt`, 0);
  const later = await putBlob(folder, `${randomUUID()}/later.txt`, 48);
  await putBlob(folder, ".unfinished/dead", 2);
  await putBlob(folder, ".unfinished/alive", 0);
  const database = openSqlite({ file: join(folder, "nassaq.db") });
  const at = (hours: number) => new Date(Date.now() + hours * HOUR);
  const note = { docId: null, sha256: null };
  await insertDeletion(database, { ...note, blobKey: due }, at(-1));
  await insertDeletion(database, { ...note, blobKey: later }, at(1));
  for (const [sessionId, hours] of [
    ["old", -25],
    ["ended", -23],
  ] as const)
    await insertSession(database, {
      sessionId,
      userId,
      currentTokenHash: "0".repeat(64),
      createdAt: at(-100),
      expiresAt: at(hours),
    });
  for (const [tokenHash, hours] of [
    ["1", -1],
    ["2", 1],
  ] as const)
    await insertPasswordReset(database, {
      userId,
      tokenHash: tokenHash.repeat(64),
      createdAt: at(-100),
      expiresAt: at(hours),
    });
  await database.close();
  return { folder, documents, stray, young, foreign, due, later };
}

/** What the tables hold of it. */
async function rowsIn(folder: string) {
  const database = openSqlite({ file: join(folder, "nassaq.db"), readOnly: true });
  try {
    return {
      deletions: await database.all("SELECT blob_key FROM Deletions"),
      sessions: await database.all(
        "SELECT session_id FROM Sessions WHERE session_id IN ('old', 'ended')",
      ),
      resets: await database.all("SELECT token_hash FROM Password_Resets"),
    };
  } finally {
    await database.close();
  }
}

describe("sweep", () => {
  test("tells with --dry-run what it removes without, and nothing else goes", async (t) => {
    const left = await leftBehind(t);
    const { folder, documents, stray, young, foreign, due, later } = left;
    const findings = [
      `deletion that is due: ${due}`,
      "unfinished file of an upload: dead",
      "sessions that have ended: 1",
      "password resets that have expired: 1",
      `blob without a document: ${stray}`,
      "Not judged: 1 blobs under keys of other programs.",
    ];
    const before = { blobs: await blobsIn(folder), rows: await rowsIn(folder) };
    const dry = await runCli(folder, ["sweep", "--dry-run"]);
    assert.deepEqual(dry, {
      code: 0,
      lines: [...findings, "Found 5: nothing was removed."],
      stderr: "",
    });
    assert.deepEqual({ blobs: await blobsIn(folder), rows: await rowsIn(folder) }, before);

    const real = await runCli(folder, ["sweep"]);
    assert.deepEqual(real, {
      code: 0,
      lines: [...findings, "Found 5: all that could be was removed."],
      stderr: "",
    });
    assert.deepEqual(
      await blobsIn(folder),
      [...documents, young, foreign, later, ".unfinished/alive"].sort(),
    );
    assert.deepEqual(await rowsIn(folder), {
      deletions: [{ blob_key: later }],
      sessions: [{ session_id: "ended" }],
      resets: [{ token_hash: "2".repeat(64) }],
    });

    const again = await runCli(folder, ["sweep"]);
    assert.deepEqual(again.lines, [findings[5], "There is nothing to remove."]);
  });

  test("refuses a schema that is behind", async (t) => {
    const { folder } = await leftBehind(t);
    const database = openSqlite({ file: join(folder, "nassaq.db") });
    await database.run("DELETE FROM Schema_Migrations WHERE name LIKE '0004%'");
    await database.close();
    for (const command of ["sweep", "check-integrity"]) {
      const { code, lines, stderr } = await runCli(folder, [command]);
      assert.deepEqual([code, lines], [1, []], command);
      assert.match(stderr, /lacks migrations: 0004-\S+ Run `npm run migrate`/);
    }
  });
});

test("a folder without data, which may be the wrong one, stays as it is", async (t) => {
  const folder = await temporaryFolder(t);
  const wrong = { DATA_DIR: join(folder, "typo") };
  for (const [command, code, reason] of [
    [["sweep"], 78, /typo\) has no nassaq\.db/],
    [["sweep", "--dry-run"], 78, /typo\) has no nassaq\.db/],
    [["check-integrity"], 78, /typo\) has no nassaq\.db/],
    [["verify-audit"], 69, /typo\/nassaq\.db can't be opened/],
  ] as const) {
    const result = await runCli(folder, command, wrong);
    assert.deepEqual([result.code, result.lines], [code, []], command.join(" "));
    assert.match(result.stderr, reason);
  }
  assert.deepEqual(await readdir(folder), []);
});
