import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import type { Database, Queryable } from "../../src/data/database.ts";
import { findSession } from "../../src/data/sessions.ts";
import { openSqlite } from "../../src/data/sqlite.ts";
import { findUser, insertUser } from "../../src/data/users.ts";
import { AppError, type Code } from "../../src/errors.ts";
import { createJwt } from "../../src/security/jwt.ts";
import { createSessions, type Tokens } from "../../src/security/sessions.ts";

export const START = Date.parse("2026-02-26T14:30:00.700Z");
export const ACCESS = 60;
export const REFRESH = 7 * 24 * 3600;
export const SECRET = "a secret that is long enough for a test";

export function refusal(code: Code, detail: string) {
  return (error: unknown) => {
    assert.ok(error instanceof AppError, String(error));
    assert.deepEqual([error.code, error.detail], [code, detail]);
    return true;
  };
}
export const invalid = refusal("not_authenticated", "Invalid refresh token");

export function payload(token: string): Record<string, unknown> {
  return JSON.parse(atob(token.split(".")[1] as string));
}

/** A user, a clock and the sessions of one server process; `process()` is a further one on the same database. */
export async function setUp(database: Database) {
  await database.migrate();
  const userId = await insertUser(database, {
    fullName: "Amina Haddad",
    email: "amina@example.com",
    username: "amina",
    passwordHash: "-",
    createdAt: new Date(START),
    isActive: true,
    roleId: 99,
  });
  const clock = { time: START };
  const jwt = createJwt({ secret: SECRET, previous: [] });
  const reuses: string[] = [];
  const hooks = {
    findUser,
    onReuse: async (tx: Queryable, user: number, sessionId: string) => {
      assert.equal(user, userId);
      await tx.run("UPDATE Users SET full_name = @name WHERE user_id = @user", {
        name: "robbed",
        user,
      });
      reuses.push(sessionId);
    },
  };
  function process(on: Database = database, key = jwt) {
    const sessions = createSessions({
      jwt: key,
      accessTtlSeconds: ACCESS,
      refreshTtlSeconds: REFRESH,
      now: () => new Date(clock.time),
    });
    return { ...sessions, refresh: (token: string) => sessions.refresh(on, token, hooks) };
  }
  const user = { userId, roleId: 99 };
  const sessions = process();
  const open = () => database.transaction((tx) => sessions.open(tx, user));
  const row = async (tokens: Tokens) => {
    const session = await findSession(database, tokens.session_id);
    assert.ok(session);
    return session;
  };
  return { database, clock, jwt, reuses, hooks, process, user, sessions, open, row };
}

export async function inMemory(t: TestContext) {
  const database = openSqlite({ file: ":memory:" });
  t.after(() => database.close());
  return setUp(database);
}
