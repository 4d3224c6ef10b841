import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { type Database, ForeignKeyViolation, type Queryable } from "../../src/data/database.ts";
import { findPath, insertPath } from "../../src/data/paths.ts";
import { openSqlite } from "../../src/data/sqlite.ts";
import { findUser, insertUser } from "../../src/data/users.ts";
import { createPaths } from "../../src/domain/paths.ts";
import { createUsers } from "../../src/domain/users.ts";
import { callerOf, coreOf } from "../support/core.ts";
import { refusal } from "./session-support.ts";

const now = () => new Date("2026-02-26T14:30:00.000Z");

/** A user and a path, and what deletes them. */
async function setUp(t: TestContext) {
  const database = openSqlite({ file: ":memory:" });
  t.after(() => database.close());
  await database.migrate();
  const insert = (username: string, roleId: number | null) =>
    insertUser(database, {
      fullName: "Amina Haddad",
      email: `${username}@example.com`,
      username,
      passwordHash: "-",
      createdAt: now(),
      isActive: true,
      roleId,
    });
  const userId = await insert("amina", null);
  const path = { fullPath: "a", description: null, depth: 1, createdAt: now() };
  const pathId = await insertPath(database, path);
  const caller = await callerOf(database, await insert("admin", 99));
  const removeUser = (on: Database = database) =>
    createUsers(coreOf(on, now), {} as never).remove(caller, userId);
  const removePath = (on: Database = database) =>
    createPaths(coreOf(on, now)).remove(caller, pathId);
  return { database, userId, pathId, removeUser, removePath };
}

/** `database`, but before each of the first `times` statements that begin with `statement` something happens. */
function interrupted(
  database: Database,
  statement: string,
  times: number,
  happens: (tx: Pick<Database, "run">) => Promise<unknown>,
): Database {
  const before = async (tx: Queryable, sql: string) => {
    if (sql.startsWith(statement) && times-- > 0) await happens(tx);
  };
  return {
    ...database,
    transaction: (work) =>
      database.transaction((tx) =>
        work({
          ...tx,
          run: async (sql, params) => before(tx, sql).then(() => tx.run(sql, params)),
          defer: async (sql, params) => before(tx, sql).then(() => tx.defer(sql, params)),
        }),
      ),
  };
}

describe("a deletion", () => {
  test("is refused while a table that nobody knows here references the user or the path", async (t) => {
    const { database, userId, pathId, removeUser, removePath } = await setUp(t);
    await database.run(
      "CREATE TABLE Favourites (user_id INT REFERENCES Users (user_id), path_id INT REFERENCES Virtual_Paths (path_id))",
    );
    await database.run("INSERT INTO Favourites (user_id, path_id) VALUES (@userId, @pathId)", {
      userId,
      pathId,
    });
    const detail = (what: string) =>
      `Cannot delete this ${what}: rows of another table still reference it.`;
    await assert.rejects(removeUser(), refusal("conflict", detail("user")));
    await assert.rejects(removePath(), refusal("conflict", detail("path")));
    assert.ok((await findUser(database, userId)) && (await findPath(database, pathId)));
    await database.run("DELETE FROM Favourites");
    await removeUser();
    await removePath();
    assert.equal(await findUser(database, userId), undefined);
    assert.equal(await findPath(database, pathId), undefined);
  });

  test("takes along the audit and session rows that slip in", async (t) => {
    const { database, userId, removeUser } = await setUp(t);
    let slipped = 0;
    const busy = interrupted(database, "DELETE FROM Users", 3, async (tx) => {
      await tx.run(
        "INSERT INTO Logs (log_timestamp, action_type, user_id) VALUES (@at, 'login_failed', @userId)",
        { at: now(), userId },
      );
      slipped++;
    });
    await removeUser(busy);
    assert.equal(slipped, 3);
    assert.equal(await findUser(database, userId), undefined);
  });

  test("says what it was when a document slips in", async (t) => {
    const { database, userId, pathId, removeUser, removePath } = await setUp(t);
    const upload = async () => {
      await database.insert(
        "Documents",
        {
          filename: "a.txt",
          path_id: pathId,
          uploaded_by_user_id: userId,
          mongo_doc_id: "pending",
          uploaded_at: now(),
        },
        "doc_id",
      );
    };
    let first = true;
    const racing: Database = {
      ...database,
      async transaction(work) {
        if (!first) return database.transaction(work);
        first = false;
        await upload();
        throw new ForeignKeyViolation("A reference is broken");
      },
    };
    await assert.rejects(
      removeUser(racing),
      refusal("bad_request", "Cannot delete this user: documents that they uploaded still exist."),
    );
    await assert.rejects(
      removePath(),
      refusal("bad_request", "Cannot delete this path: documents are stored in it."),
    );
  });
});
