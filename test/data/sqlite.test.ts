import assert from "node:assert/strict";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { DatabaseUnreachable } from "../../src/data/database.ts";
import { openSqlite } from "../../src/data/sqlite.ts";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "nassaq-sqlite-"));
});
after(() => rm(folder, { recursive: true }));

test("a commit survives a power cut, references are checked, the file is its owner's alone", async (t) => {
  const file = join(folder, "pragmas.db");
  const database = openSqlite({ file });
  t.after(() => database.close());
  assert.deepEqual(await database.first("PRAGMA journal_mode"), { journal_mode: "wal" });
  // FULL: https://www.sqlite.org/pragma.html#pragma_synchronous
  assert.deepEqual(await database.first("PRAGMA synchronous"), { synchronous: 2 });
  assert.deepEqual(await database.first("PRAGMA foreign_keys"), { foreign_keys: 1 });
  assert.equal((await stat(file)).mode & 0o777, 0o600);
});

test("a write waits for another process that is writing, without holding this one", async (t) => {
  const file = join(folder, "locked.db");
  const database = openSqlite({ file });
  const other = new DatabaseSync(file);
  t.after(async () => {
    other.close();
    await database.close();
  });
  await database.migrate();
  other.exec("BEGIN IMMEDIATE");
  let isDone = false;
  const waiting = [
    database.transaction((tx) => tx.insert("Roles", { role_name: "a" }, "role_id")),
    database.insert("Roles", { role_name: "b" }, "role_id"),
  ].map((write) => write.finally(() => (isDone = true)));
  await sleep(200);
  assert.ok(!isDone);
  other.exec("COMMIT");
  const [first = 0, second = 0] = await Promise.all(waiting);
  assert.ok(first > 0 && second > first);
});

test("a full disk is unavailable, undoes the transaction, and heals with room", async (t) => {
  const database = openSqlite({ file: join(folder, "full.db") });
  t.after(() => database.close());
  await database.migrate();
  const { page_count: pages } = await database
    .first<{ page_count: number }>("PRAGMA page_count")
    .then((row) => row ?? assert.fail());
  await database.run(`PRAGMA max_page_count = ${pages + 5}`);
  const filling = database.transaction(async (tx) => {
    await tx.insert("Roles", { role_name: "x" }, "role_id");
    await tx.run("UPDATE Roles SET description = @text", { text: "x".repeat(100_000) });
  });
  await assert.rejects(filling, { name: "AppError", code: "unavailable" });
  const left = "SELECT role_id AS id FROM Roles WHERE role_name = 'x'";
  assert.equal(await database.first(left), undefined);
  await database.run("PRAGMA max_page_count = 100000");
  await database.insert("Roles", { role_name: "x" }, "role_id");
  assert.ok(await database.first(left));
});

test("more statements than are kept prepared are all answered", async (t) => {
  const database = openSqlite({ file: ":memory:" });
  t.after(() => database.close());
  for (const round of [1, 2]) {
    for (let n = 0; n < 250; n++) {
      const row = await database.first(`SELECT ${n} + @round AS n`, { round });
      assert.deepEqual(row, { n: n + round });
    }
  }
});

test("a file that is no database can't be opened, and says which", async () => {
  const file = join(folder, "text.db");
  await writeFile(file, "This is no database.".repeat(100));
  assert.throws(
    () => openSqlite({ file }),
    (error) => error instanceof DatabaseUnreachable && error.message.includes(file),
  );
});
