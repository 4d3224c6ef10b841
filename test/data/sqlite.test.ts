import assert from "node:assert/strict";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, before, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { DatabaseUnreachable, OutcomeUnknown, type Queryable } from "../../src/data/database.ts";
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

/** From now on statements of that beginning fail with `code`, if there is one. */
function failing(
  t: TestContext,
  beginning: RegExp,
  code: (text: string) => number | undefined,
): void {
  const { prepare } = DatabaseSync.prototype;
  t.mock.method(DatabaseSync.prototype, "prepare", function (this: DatabaseSync, text: string) {
    const statement = prepare.call(this, text);
    if (!beginning.test(text)) return statement;
    const attempt =
      (method: "run" | "all") =>
      (...values: string[]) => {
        const errcode = code(text);
        if (errcode) throw Object.assign(new Error("the disk fails"), { errcode });
        return statement[method](...values);
      };
    return {
      columns: () => statement.columns(),
      setReturnArrays: () => statement.setReturnArrays(true),
      setReadBigInts: () => statement.setReadBigInts(true),
      run: attempt("run"),
      all: attempt("all"),
    };
  });
}

test("a commit that the log has and the disk perhaps not may have happened; any other has not", async (t) => {
  let code = 0;
  failing(t, /^COMMIT/, () => code);
  const database = openSqlite({ file: ":memory:" });
  t.after(() => database.close());
  await database.migrate();
  for (const [failure, isUnknown] of [
    [1034, true],
    [778, false],
    [13, false],
  ] as const) {
    code = failure;
    const write = database.transaction((tx) => tx.insert("Roles", { role_name: "x" }, "role_id"));
    const error = await write.then(
      () => assert.fail(),
      (reason) => reason,
    );
    assert.deepEqual(
      [error.code, error.cause instanceof OutcomeUnknown],
      ["unavailable", isUnknown],
    );
  }
  assert.equal(await database.first("SELECT 1 AS n FROM Roles WHERE role_name = 'x'"), undefined);
});

test("writers that wait together share one commit, and a lone one has no more than it needs", async (t) => {
  const ends: string[] = [];
  failing(t, /^(BEGIN|SAVEPOINT|RELEASE|ROLLBACK|COMMIT)/, (text) => void ends.push(text));
  const database = openSqlite({ file: ":memory:" });
  t.after(() => database.close());
  await database.migrate();
  const insert = (name: string) => (q: Queryable) =>
    q.insert("Roles", { role_name: name }, "role_id");
  ends.length = 0;
  await database.transaction(insert("a"));
  assert.deepEqual(ends.splice(0), ["BEGIN IMMEDIATE", "COMMIT"]);
  await insert("b")(database);
  assert.deepEqual(ends.splice(0), []);
  await Promise.all([
    database.transaction(insert("c")),
    insert("d")(database),
    assert.rejects(database.transaction(insert("c"))),
  ]);
  const nested = ["SAVEPOINT writer", "RELEASE writer"];
  const failed = ["SAVEPOINT writer", "ROLLBACK TO writer", "RELEASE writer"];
  assert.deepEqual(ends.splice(0), ["BEGIN IMMEDIATE", ...nested, ...failed, "COMMIT"]);
  await Promise.all(Array.from({ length: 250 }, (_, n) => insert(`many${n}`)(database)));
  assert.ok(ends.filter((text) => text === "COMMIT").length >= 3);
});

test("a commit that fails, or a disk that is full, fails all that share it, and no later ones", async (t) => {
  let commitCode: number | undefined = 13;
  failing(t, /^COMMIT/, () => commitCode);
  const database = openSqlite({ file: join(folder, "shared.db") });
  t.after(() => database.close());
  commitCode = undefined;
  await database.migrate();
  const insert = (description: string) =>
    database.transaction((tx) =>
      tx.insert("Roles", { role_name: description.slice(0, 9), description }, "role_id"),
    );
  const failures = async (writes: Promise<unknown>[]) =>
    (await Promise.allSettled(writes)).map((outcome) =>
      outcome.status === "rejected" ? outcome.reason.code : "done",
    );
  for (commitCode of [13, 1034])
    assert.deepEqual(await failures([insert("a"), insert("b")]), ["unavailable", "unavailable"]);
  commitCode = undefined;
  const pages = await database.first<{ page_count: number }>("PRAGMA page_count");
  await database.run(`PRAGMA max_page_count = ${Number(pages?.page_count) + 5}`);
  const writes = [insert("a"), insert("x".repeat(100_000)), insert("c")];
  const [, second, third] = await failures(writes);
  assert.deepEqual([second, third], ["unavailable", "done"]);
  const answered = await failures([...writes]);
  const names = await database.all<{ name: string }>(
    "SELECT role_name AS name FROM Roles WHERE role_name IN ('a', 'b', 'c') ORDER BY role_name",
  );
  // Whether SQLite undoes more than the statement is its own choice.
  assert.deepEqual(
    names.map(({ name }) => name),
    answered[0] === "done" ? ["a", "c"] : ["c"],
  );
});

test("after a failure of the disk a ping writes, until that works", async (t) => {
  let isFull = false;
  let attempts = 0;
  failing(t, /^(INSERT INTO Roles|PRAGMA user_version)/, () => {
    attempts += 1;
    return isFull ? 13 : undefined;
  });
  const database = openSqlite({ file: ":memory:" });
  t.after(() => database.close());
  await database.migrate();
  attempts = 0;
  await database.ping();
  assert.equal(attempts, 0);
  isFull = true;
  await assert.rejects(database.insert("Roles", { role_name: "x" }, "role_id"));
  await assert.rejects(database.ping(), { code: "unavailable" });
  isFull = false;
  await database.ping();
  await database.ping();
  assert.equal(attempts, 3);
});

test("what is free on the disk of the file is told, and nothing of a database in memory", async (t) => {
  const [file, memory] = [
    openSqlite({ file: join(folder, "free.db") }),
    openSqlite({ file: ":memory:" }),
  ];
  t.after(() => Promise.all([file.close(), memory.close()]));
  assert.ok(((await file.freeBytes?.()) ?? 0) > 0);
  assert.equal(await memory.freeBytes?.(), undefined);
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

test("after a commit that need not be durable, the next one is", async (t) => {
  const database = openSqlite({ file: join(folder, "durable.db") });
  t.after(() => database.close());
  await database.migrate();
  const level = async (options: { durable?: boolean }) =>
    await database.transaction((tx) => tx.first("PRAGMA synchronous"), options);
  // NORMAL, FULL: https://www.sqlite.org/pragma.html#pragma_synchronous
  assert.deepEqual(await level({ durable: false }), { synchronous: 1 });
  await assert.rejects(
    database.transaction(() => Promise.reject(new Error("no")), { durable: false }),
  );
  assert.deepEqual(await level({}), { synchronous: 2 });
});
