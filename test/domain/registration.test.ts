import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { type Database, UniqueViolation } from "../../src/data/database.ts";
import { openSqlite } from "../../src/data/sqlite.ts";
import { findUser, insertUser } from "../../src/data/users.ts";
import { SYSTEM } from "../../src/domain/audit.ts";
import { createRegistration } from "../../src/domain/registration.ts";
import { createUsers } from "../../src/domain/users.ts";
import { createPasswords } from "../../src/security/passwords.ts";
import { callerOf, coreOf } from "../support/core.ts";
import { refusal } from "./session-support.ts";

const NOW = new Date("2026-02-26T14:30:00.000Z");
const emailTaken = refusal("bad_request", "Email already registered");
const usernameTaken = refusal("bad_request", "Username already taken");

/** A database whose collation, like SQL Server's, holds names equal that differ by a tatweel. */
async function collating(t: TestContext) {
  const database = openSqlite({ file: ":memory:" });
  await database.migrate();
  await database.run(
    "CREATE UNIQUE INDEX UX_collation ON Users (LOWER(REPLACE(username, 'ـ', '')))",
  );
  const passwords = createPasswords({ cost: 4, threads: 1 });
  t.after(async () => {
    await passwords.close();
    await database.close();
  });
  let count = 0;
  const insert = (
    username: string,
    email = `${++count}@example.org`,
    roleId: number | null = null,
  ) =>
    insertUser(database, {
      fullName: "Amina Haddad",
      email,
      username,
      passwordHash: "-",
      createdAt: NOW,
      isActive: true,
      roleId,
    });
  const admin = () => insert("the.admin", "admin@example.org", 99);
  const register = (input: { email?: string; username?: string }, on: Database = database) =>
    createRegistration(
      coreOf(on, () => NOW),
      passwords,
    ).register(
      { full_name: "John Smith", email: "john@example.com", password: "passw0rd!", ...input },
      SYSTEM,
    );
  return { database, insert, admin, register };
}

describe("names that only the database holds equal", () => {
  test("are taken", async (t) => {
    const { insert, register } = await collating(t);
    await insert("كتاب_x");
    await assert.rejects(register({ username: "كتـاب_x" }), usernameTaken);
    assert.equal((await register({ username: "كتب_x" })).username, "كتب_x");
  });

  test("are taken on renaming", async (t) => {
    const { database, insert, admin } = await collating(t);
    await insert("كتاب_x");
    const userId = await insert("amina", "amina@example.com");
    const users = createUsers(coreOf(database), {} as never);
    const caller = await callerOf(database, await admin());
    const rename = (changes: object) => users.update(caller, userId, changes);
    const exists = refusal("bad_request", "Username already exists");
    await assert.rejects(rename({ username: "كتـاب_x" }), exists);
    await assert.rejects(rename({ username: "كتـاب_x", email: "new@example.com" }), exists);
    assert.equal((await findUser(database, userId))?.email, "amina@example.com");
  });

  test("make a derived name go on to the next number", async (t) => {
    const { insert, register } = await collating(t);
    await insert("joـhn_example");
    await insert("johnـ_example1");
    const { username } = await register({});
    assert.equal(username, "john_example2");
  });

  test("make the person choose a name when there are too many of them", async (t) => {
    const { insert, register } = await collating(t);
    await insert("joـhn_example");
    for (let number = 1; number < 40; number++) await insert(`joـhn_example${number}`);
    await assert.rejects(register({}), usernameTaken);
    assert.equal((await register({ username: "john" })).username, "john");
  });
});

test("of many names in use a drawn number follows the counted ones", async (t) => {
  const { insert, register } = await collating(t);
  await insert("john_example");
  for (let number = 1; number <= 20; number++) await insert(`john_example${number}`);
  assert.match((await register({})).username, /^john_example\d{4,6}$/);
});

describe("a race that is lost at the commit", () => {
  /** `database`, but what its first `times` transactions did is refused at their end. */
  const refusing = (database: Database, times: number, meanwhile = async () => {}): Database => ({
    ...database,
    async transaction(work) {
      if (times-- <= 0) return database.transaction(work);
      const refused = database.transaction(async (tx) => {
        await work(tx);
        throw new UniqueViolation("A row with this value exists");
      });
      await refused.catch(meanwhile);
      return refused;
    },
  });

  test("for an address is told as taken", async (t) => {
    const { database, insert, register } = await collating(t);
    const lost = refusing(database, 1, async () => void (await insert("jack", "john@example.com")));
    await assert.rejects(register({}, lost), emailTaken);
    await assert.rejects(register({ username: "john" }, lost), emailTaken);
  });

  test("for a chosen name is told as taken", async (t) => {
    const { database, register } = await collating(t);
    await assert.rejects(register({ username: "john" }, refusing(database, 1)), usernameTaken);
  });

  test("for a derived name is tried with the next", async (t) => {
    const { database, register } = await collating(t);
    assert.equal((await register({}, refusing(database, 2))).username, "john_example2");
    const endless = refusing(database, Number.POSITIVE_INFINITY);
    await assert.rejects(register({ email: "jane@example.com" }, endless), usernameTaken);
  });

  test("for a changed name or address is told as taken", async (t) => {
    const { database, insert, admin } = await collating(t);
    const userId = await insert("amina", "amina@example.com");
    const caller = await callerOf(database, await admin());
    const rename = (changes: object, meanwhile?: () => Promise<void>) =>
      createUsers(coreOf(refusing(database, 1, meanwhile)), {} as never).update(
        caller,
        userId,
        changes,
      );
    const taken = (what: string) => refusal("bad_request", `${what} already exists`);
    await assert.rejects(rename({ username: "jack" }), taken("Username"));
    await assert.rejects(rename({ email: "jack@example.com" }), taken("Email"));
    const sameName = { username: "amina", email: "jack@example.com" };
    await assert.rejects(rename(sameName), taken("Email"));
    const meanwhile = async () => void (await insert("jill", "jack@example.com"));
    await assert.rejects(
      rename({ username: "jack", email: "jack@example.com" }, meanwhile),
      taken("Email"),
    );
  });

  test("anything else is no race", async (t) => {
    const { database, register } = await collating(t);
    const broken: Database = { ...database, transaction: () => Promise.reject(new RangeError()) };
    await assert.rejects(register({ username: "john" }, broken), RangeError);
  });
});
