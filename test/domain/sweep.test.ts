import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { after, before, describe, type TestContext, test } from "node:test";
import { insertDeletion, isNamed, listDueDeletions } from "../../src/data/deletions.ts";
import { listDocumentsAfter } from "../../src/data/documents.ts";
import { insertPasswordReset } from "../../src/data/password-resets.ts";
import { countExpired, insertSession } from "../../src/data/sessions.ts";
import { openSqlite } from "../../src/data/sqlite.ts";
import { insertUser } from "../../src/data/users.ts";
import { createBlobFinder, newBlobKey } from "../../src/domain/blobs.ts";
import { judge, sweepBlobs } from "../../src/domain/sweep.ts";
import { AzureBlobStorage } from "../../src/storage/azure-blob.ts";
import { LocalFolderStorage } from "../../src/storage/local-folder.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { startTestApp } from "../support/app.ts";
import { startAzurite } from "../support/azurite.ts";
import { ENGINES } from "../support/engines.ts";
import { silent } from "../support/sqlserver.ts";

const DAY = 24 * 60 * 60 * 1000;

/** A database beside `storage`, whose blobs are two days old, and ways to fill both. */
async function setUp(t: TestContext, storage: Storage) {
  const database = openSqlite({ file: ":memory:" });
  t.after(() => database.close());
  await database.migrate();
  const now = () => new Date(Date.now() + 2 * DAY);
  const uploadedByUserId = await insertUser(database, {
    fullName: "Amina Haddad",
    email: "amina@example.com",
    username: "amina",
    passwordHash: "-",
    createdAt: now(),
    isActive: true,
    roleId: 1,
  });
  const warnings: string[] = [];
  const log = { ...silent, warn: (message: string) => void warnings.push(message) };
  const stores = { database, storage, content: {} as never, findBlob: createBlobFinder(storage) };
  return {
    parts: { ...stores, log, now },
    warnings,
    async blob(key = newBlobKey("a file.txt")) {
      await storage.upload(Readable.from(["x"]), key);
      return key;
    },
    note: (blobKey: string) =>
      insertDeletion(database, { docId: null, blobKey, sha256: null }, now()),
    row: (blobKey: string) =>
      database.insert(
        "Documents",
        {
          filename: blobKey,
          pathId: 1,
          uploadedByUserId,
          uploadedAt: now(),
          mongoDocId: "pending",
          blobKey,
        },
        "doc_id",
      ),
  };
}

async function collect(parts: Parameters<typeof judge>[0]) {
  const found = { named: 0, foreign: 0, young: 0, strays: [] as string[] };
  for await (const key of parts.storage.keys("")) {
    const verdict = await judge(parts, key);
    if (verdict === "stray") found.strays.push(key);
    else found[verdict] += 1;
  }
  return { ...found, strays: found.strays.sort() };
}

function strayTests(
  name: string,
  open: () => Promise<{ storage: Storage; close(): Promise<void> }>,
) {
  describe(`strays in ${name}`, () => {
    let opened: Awaited<ReturnType<typeof open>>;
    before(async () => {
      opened = await open();
    });
    after(() => opened?.close());

    test("are the blobs of this server's keys that no row and no note names", async (t) => {
      const { storage } = opened;
      const { parts, blob, note, row } = await setUp(t, storage);
      const strays: string[] = [];
      for (let at = 0; at < 120; at++) {
        const key = await blob();
        if (at % 3 === 0) await row(key);
        else if (at % 3 === 1) await note(key);
        else strays.push(key);
      }
      await row(newBlobKey("without a blob.txt"));
      for (const key of ["a.txt", "letters/a.txt", "0000-1/a.txt", `x/${newBlobKey("a.txt")}`])
        await blob(key);
      const all = { named: 80, foreign: 4, young: 0, strays: strays.sort() };
      assert.deepEqual(await collect(parts), all);
      const early = { ...parts, now: () => new Date() };
      assert.deepEqual(await collect(early), { ...all, young: 40, strays: [] });
    });
  });
}

strayTests("a folder", async () => {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-strays-"));
  const storage = await LocalFolderStorage.open({ folder });
  return {
    storage,
    async close() {
      await storage.close();
      await rm(folder, { recursive: true });
    },
  };
});

strayTests("Azurite", async () => {
  const azurite = await startAzurite();
  const { connectionString } = azurite;
  const container = "strays";
  const storage = new AzureBlobStorage({ connectionString, container });
  await storage.ping();
  return { storage, close: () => azurite.close() };
});

describe("a server's own sweep", () => {
  async function inFolder(t: TestContext) {
    const folder = await mkdtemp(join(tmpdir(), "nassaq-own-sweep-"));
    const storage = await LocalFolderStorage.open({ folder });
    t.after(() => rm(folder, { recursive: true }));
    return setUp(t, storage);
  }

  const run = (parts: Parameters<typeof sweepBlobs>[0]) =>
    sweepBlobs(parts, new AbortController().signal, { first: 1, next: 1 });

  test("removes strays and nothing else", async (t) => {
    const { parts, blob, row, warnings } = await inFolder(t);
    const kept = await Promise.all(Array.from({ length: 3 }, () => blob()));
    for (const key of kept) await row(key);
    for (let at = 0; at < 3; at++) await blob();
    const foreign = await blob("letters/a.txt");
    await run(parts);
    assert.deepEqual(await parts.storage.list(""), [...kept, foreign].sort());
    assert.deepEqual(warnings, []);
  });

  test("removes nothing where more blobs are strays than not, and says so", async (t) => {
    const { parts, blob, row, warnings } = await inFolder(t);
    await row(await blob());
    for (let at = 0; at < 2; at++) await blob();
    const before = await parts.storage.list("");
    await run(parts);
    assert.deepEqual(await parts.storage.list(""), before);
    assert.match(warnings.join(), /many blobs have no document/);
  });

  test("ends at once when the server stops, and waits a while before it begins", async (t) => {
    const { parts, blob, row } = await inFolder(t);
    await row(await blob());
    await blob();
    const stopping = new AbortController();
    const sweep = sweepBlobs(parts, stopping.signal);
    stopping.abort();
    await sweep;
    assert.equal((await parts.storage.list("")).length, 2);
  });
});

for (const engine of ENGINES) {
  test(`what a sweep and a check ask is answered by ${engine.name}`, async (t) => {
    const app = await startTestApp({}, engine);
    t.after(() => app.close());
    const { database } = app.app;
    const { id: userId } = await app.as("user");
    const ids: number[] = [];
    for (const filename of ["a.txt", "b.txt", "c.txt"]) {
      const { body } = await app.call("POST", "/api/v1/docs/upload", {
        as: "user",
        multipart: [{ name: "file", filename, data: filename }],
      });
      ids.push(body.doc_id);
    }
    const found = await listDocumentsAfter(database, ids[0] ?? 0, 1);
    assert.deepEqual(
      found.map(({ docId, mongoDocId }) => [docId, mongoDocId]),
      [[ids[1], "pending"]],
    );
    const [past, future] = [new Date(Date.now() - DAY), new Date(Date.now() + DAY)];
    await insertSession(database, {
      sessionId: "old",
      userId,
      currentTokenHash: "0".repeat(64),
      createdAt: past,
      expiresAt: past,
    });
    const reset = { userId, tokenHash: "1".repeat(64), createdAt: past, expiresAt: past };
    await insertPasswordReset(database, reset);
    assert.equal(await countExpired(database, "Sessions", new Date()), 1);
    assert.equal(await countExpired(database, "Password_Resets", new Date()), 1);
    for (const blobKey of ["1", "2", "3"])
      await insertDeletion(database, { docId: null, blobKey, sha256: null }, future);
    const later = new Date(Date.now() + 2 * DAY);
    const due = await listDueDeletions(database, later, { skip: 1, limit: 1 });
    assert.deepEqual(
      due.map(({ blobKey }) => blobKey),
      ["2"],
    );
  });

  test(`which blobs are named is known to ${engine.name}`, async (t) => {
    const app = await startTestApp({}, engine);
    t.after(() => app.close());

    const { database } = app.app;
    const key = `${randomUUID()}/Été تقرير.PDF`;
    await insertDeletion(database, { docId: null, blobKey: key, sha256: null }, new Date(9e12));
    assert.equal(await isNamed(database, key), true);
    assert.equal(await isNamed(database, `${randomUUID()}/Été تقرير.PDF`), false);
    const { body } = await app.call("POST", "/api/v1/docs/upload", {
      as: "user",
      multipart: [{ name: "file", filename: "a.txt", data: "a" }],
    });
    const [row] = await database.all<{ blobKey: string }>(
      "SELECT d.blob_key AS blobKey FROM Documents d WHERE d.doc_id = @docId",
      { docId: body.doc_id },
    );
    assert.ok(row);
    assert.equal(await isNamed(database, row.blobKey), true);
  });
}
