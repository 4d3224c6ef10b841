import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import {
  appendFile,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  writeFile,
} from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, describe, type TestContext, test } from "node:test";
import { EmbeddedContentStore } from "../../src/content/embedded.ts";
import type { Database } from "../../src/data/database.ts";
import { openSqlite } from "../../src/data/sqlite.ts";
import { createBlobFinder } from "../../src/domain/blobs.ts";
import { checkAll } from "../../src/domain/integrity.ts";
import { LocalFolderStorage } from "../../src/storage/local-folder.ts";
import { startTestApp } from "../support/app.ts";
import { connectionStringFor } from "../support/azurite.ts";
import { runCli } from "../support/cli.ts";
import { silent } from "../support/sqlserver.ts";
import { textOf } from "../support/texts.ts";

/** A data folder with five documents, made once; each test has a copy. */
let original = "";
const NAMES = ["a.txt", "b.txt", "c.txt", "d.txt", "e.txt"];

before(async () => {
  original = await mkdtemp(join(tmpdir(), "nassaq-integrity-"));
  const app = await startTestApp({ folder: original });
  await app.call("POST", "/api/v1/paths", { as: "admin", json: { full_path: "letters" } });
  for (const filename of NAMES)
    await app.call("POST", "/api/v1/docs/upload", {
      as: "user",
      multipart: [
        { name: "full_path", value: "letters" },
        { name: "file", filename, data: `the bytes of ${filename}` },
      ],
    });
  await app.close();
});
after(() => rm(original, { recursive: true, force: true }));

interface Copy {
  folder: string;
  /** Changes the data. */
  change(
    work: (database: Database, content: EmbeddedContentStore) => Promise<unknown>,
  ): Promise<void>;
  /** The key of the document's blob, and its path. */
  blob(docId: number): Promise<{ key: string; path: string }>;
}

async function copy(t: TestContext): Promise<Copy> {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-integrity-copy-"));
  t.after(() => rm(folder, { recursive: true }));
  await cp(original, folder, { recursive: true });
  const file = join(folder, "nassaq.db");
  return {
    folder,
    async change(work) {
      const database = openSqlite({ file });
      try {
        await work(database, new EmbeddedContentStore(database));
      } finally {
        await database.close();
      }
    },
    async blob(docId) {
      const database = openSqlite({ file, readOnly: true });
      const row = await database.first<{ key: string }>(
        "SELECT blob_key AS key FROM Documents WHERE doc_id = @docId",
        { docId },
      );
      await database.close();
      assert.ok(row);
      return { key: row.key, path: join(folder, "blobs", row.key.replace("/", "%~")) };
    },
  };
}

async function uploaderOf(database: Database): Promise<number> {
  const row = await database.first<{ id: number }>(
    "SELECT uploaded_by_user_id AS id FROM Documents WHERE doc_id = 1",
  );
  return row?.id ?? 0;
}

/** The files of a folder with their bytes, but for SQLite's own beside its database. */
async function snapshot(folder: string): Promise<Map<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries
    .map((entry) => ({ entry, path: join(entry.parentPath, entry.name) }))
    .filter(({ path }) => !/-(wal|shm)$/.test(path))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
  const found = new Map<string, string>();
  for (const { entry, path } of files)
    found.set(path, entry.isFile() ? (await readFile(path)).toString("base64") : "");
  return found;
}

describe("check-integrity", () => {
  test("finds nothing where all is whole, and writes nothing", async (t) => {
    const { folder, change } = await copy(t);
    await change(async (database, content) => {
      const id = await content.put(textOf(1, { blob_path: "" }));
      await database.run("UPDATE Documents SET mongo_doc_id = @id WHERE doc_id = 1", { id });
      await database.run("UPDATE Processing_Status SET status = 'Finished' WHERE doc_id <= 2");
      const owner = await uploaderOf(database);
      await database.run("UPDATE Documents SET mongo_doc_id = @id WHERE doc_id = 2", {
        id: await content.put(textOf(2, { blob_path: "" }), owner),
      });
      // A worker has written the text, and not yet the rows.
      await content.put(textOf(3, { blob_path: "" }));
    });
    const before = await snapshot(folder);
    assert.deepEqual(await runCli(folder, ["check-integrity"]), {
      code: 0,
      lines: ["Checked 5 documents, 5 blobs: 0 findings."],
      stderr: "",
    });
    assert.deepEqual(await snapshot(folder), before);
  });

  test("names every row, blob and text that does not agree, each in one line", async (t) => {
    const { folder, change, blob } = await copy(t);
    const [gone, longer, other] = [await blob(1), await blob(2), await blob(3)];
    await rm(gone.path);
    await appendFile(longer.path, "!");
    await writeFile(other.path, "THE BYTES OF c.txt");
    const stray = `${randomUUID()}/stray.txt`;
    await mkdir(dirname(join(folder, "blobs", stray)));
    await writeFile(join(folder, "blobs", stray), "x");
    await change(async (database, content) => {
      await database.run("UPDATE Documents SET mongo_doc_id = 'abc' WHERE doc_id IN (3, 4)");
      await content.put(textOf(5, { blob_path: "" }));
      await database.run("UPDATE Documents SET mongo_doc_id = @id WHERE doc_id = 1", {
        id: await content.put(textOf(1, { blob_path: "" })),
      });
      await database.run("UPDATE Processing_Status SET status = 'Finished' WHERE doc_id = 5");
    });
    const { code, lines, stderr } = await runCli(folder, ["check-integrity"]);
    assert.deepEqual([code, stderr], [1, ""]);
    assert.deepEqual(lines, [
      `document 1: no blob: Not at ${gone.key}, and not proven to be at another key`,
      `document 2: the blob ${longer.key} has 19 bytes, not 18`,
      `document 3: the blob ${other.key} has other bytes: its SHA-256 is not the row's`,
      "document 3: its text abc is not there",
      "document 4: its text abc is not there",
      "document 5: it has a text, but mongo_doc_id is still 'pending'",
      `blob ${stray}: no document and no deletion names it`,
      "Checked 5 documents, 5 blobs: 7 findings.",
    ]);
  });

  test("takes documents of the reference system and moved ones as the server does", async (t) => {
    const { folder, change, blob } = await copy(t);
    const blobs = await Promise.all([1, 2, 3, 4].map(blob));
    const at = (key: string) => join(folder, "blobs", key);
    await mkdir(at("letters"));
    await mkdir(at("invoice"));
    await rename(blobs[0]?.path ?? "", at("letters/a.txt"));
    await rename(blobs[2]?.path ?? "", at("invoice/c.txt"));
    await rename(blobs[3]?.path ?? "", at("invoice/d.txt"));
    await appendFile(at("invoice/d.txt"), "!");
    const old = "blob_key = NULL, sha256 = NULL, file_size = NULL";
    await change(async (database, content) => {
      await database.run(`UPDATE Documents SET ${old} WHERE doc_id <= 2`);
      await database.run("UPDATE Documents SET filename = 'b' || char(10) || 'b' WHERE doc_id = 2");
      for (const [docId, key] of [
        [3, "invoice/c.txt"],
        [4, "invoice/d.txt"],
      ] as const) {
        const id = await content.put(textOf(docId, { blob_path: key }));
        await database.run("UPDATE Documents SET mongo_doc_id = @id WHERE doc_id = @docId", {
          id,
          docId,
        });
      }
    });
    const { code, lines } = await runCli(folder, ["check-integrity"]);
    assert.equal(code, 1);
    assert.deepEqual(lines, [
      // No blob can have that name, and the line stays one.
      "document 2: no blob: Not at letters/b\ufffdb, and not proven to be at another key",
      `document 4: no blob: Not at ${blobs[3]?.key}, and not proven to be at invoice/d.txt`,
      // That of document 2, which names it no more.
      `blob ${blobs[1]?.key}: no document and no deletion names it`,
      "Checked 5 documents, 5 blobs: 3 findings.",
    ]);
  });

  test("a storage that can't be reached ends it with 69, and is no finding", async (t) => {
    const { folder } = await copy(t);
    const free = createServer().listen(0, "127.0.0.1");
    await once(free, "listening");
    const { port } = free.address() as AddressInfo;
    free.close();
    const { code, lines, stderr } = await runCli(folder, ["check-integrity"], {
      BLOB_CONNECTION_STR: connectionStringFor(port),
      BLOB_STORAGE_CONTAINER_NAME: "documents",
    });
    assert.deepEqual([code, lines], [69, []]);
    assert.match(stderr, /^The document storage is not available at the moment\./);
  });

  test("a blob that can't be read is a finding, and the others are still looked at", async (t) => {
    const { folder, blob } = await copy(t);
    const { path } = await blob(1);
    await rm(path);
    // Whoever runs the tests may read any file, but no folder is one.
    await mkdir(path);
    await rm((await blob(5)).path);
    const { code, lines } = await runCli(folder, ["check-integrity"]);
    assert.deepEqual([code, lines.length], [1, 3]);
    assert.match(lines[0] ?? "", /^document 1: /);
    assert.match(lines[1] ?? "", /^document 5: no blob/);
  });

  test("what is deleted or committed while it runs is no finding", async (t) => {
    const { folder, change, blob } = await copy(t);
    const [first, second] = [await blob(1), await blob(2)];
    const late = `${randomUUID()}/late.txt`;
    await rm(first.path);
    await rm(second.path);
    await mkdir(dirname(join(folder, "blobs", late)));
    await writeFile(join(folder, "blobs", late), "x");
    const database = openSqlite({ file: join(folder, "nassaq.db"), readOnly: true });
    t.after(() => database.close());
    const storage = await LocalFolderStorage.open({ folder: join(folder, "blobs") });
    const content = new EmbeddedContentStore(database);
    const findBlob = createBlobFinder(storage);
    // What happens between the first look and the second.
    const changes = [
      (writer: Database) => writer.run("DELETE FROM Processing_Status WHERE doc_id = 1"),
      (writer: Database) => writer.run("DELETE FROM Documents WHERE doc_id = 1"),
    ];
    let looks = 0;
    const meanwhile: Database = {
      ...database,
      async all(sql, params) {
        for (const work of changes.splice(0)) await change(work);
        return database.all(sql, params);
      },
      async first(sql, params) {
        // Each look asks two tables.
        if (params?.blobKey === late && ++looks === 3)
          await change((writer) =>
            writer.run("UPDATE Documents SET blob_key = @late WHERE doc_id = 2", { late }),
          );
        return database.first(sql, params);
      },
    };
    const parts = { storage, content, findBlob, log: silent, now: () => new Date() };
    const found: unknown[] = [];
    for await (const progress of checkAll({ ...parts, database: meanwhile })) found.push(progress);
    const kept = `document 2: no blob: Not at ${second.key}, and not proven to be at another key`;
    assert.deepEqual(found, [
      { documents: 5, blobs: 0, findings: [kept] },
      ...Array(4).fill({ documents: 0, blobs: 1, findings: [] }),
    ]);
    assert.equal(looks, 4);
  });

  const script = spawnSync("script", ["--version"], { encoding: "utf8" });
  const skip = /util-linux/.test(script.stdout ?? "") ? false : "needs `script` of util-linux";
  test("shows progress on a terminal, and nowhere else", { skip }, async (t) => {
    const { folder } = await copy(t);
    const cli = join(import.meta.dirname, "../../src/cli/cli.ts");
    const command = `'${process.execPath}' '${cli}' check-integrity`;
    const child = spawn("script", ["-q", "-e", "-c", command, "/dev/null"], {
      cwd: folder,
      env: { PATH: process.env.PATH, ENVIRONMENT: "test", DATA_DIR: folder, TERM: "xterm" },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [shown, [code]] = await Promise.all([text(child.stdout), once(child, "close")]);
    assert.equal(code, 0, shown);
    assert.ok(shown.startsWith("\r\x1b[K5 documents, 0 blobs: 0 findings"), shown);
    assert.ok(shown.endsWith("\r\x1b[KChecked 5 documents, 5 blobs: 0 findings.\r\n"), shown);
  });
});
