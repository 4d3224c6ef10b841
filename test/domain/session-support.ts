import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import type { Database } from "../../src/data/database.ts";
import { openSqlite } from "../../src/data/sqlite.ts";
import { insertUser } from "../../src/data/users.ts";
import { createSessions, type Tokens } from "../../src/domain/sessions.ts";
import { AppError, type Code } from "../../src/errors.ts";
import { createJwt } from "../../src/security/jwt.ts";
import { coreOf } from "../support/core.ts";

export const START = Date.parse("2026-02-26T14:30:00.700Z");
export const ACCESS = 60;
export const REFRESH = 7 * 24 * 3600;
/** So long the token before the current one is answered, in milliseconds. */
export const LATE = 10_000;
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

const ACTOR = { userId: null, address: "127.0.0.1", requestId: "r" };

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
  function process(on: Database = database, key = jwt) {
    const core = coreOf(on, () => new Date(clock.time));
    const lives = { accessTtlSeconds: ACCESS, refreshTtlSeconds: REFRESH };
    const sessions = createSessions(core, { jwt: key, ...lives });
    return {
      ...sessions,
      /** Whether the guard lets an access token pass. */
      isLive: async (token: string) => {
        const caller = { ...ACTOR, ...sessions.verifyAccess(token) };
        return core.authority.check(on, caller, "user").then(
          () => true,
          (error) => {
            assert.equal(error.code, "not_authenticated");
            return false;
          },
        );
      },
      refresh: async (token: string) => sessions.rotate(await sessions.verifyRefresh(token), ACTOR),
    };
  }
  const user = { userId, roleId: 99 };
  const sessions = process();
  const open = () => database.transaction((tx) => sessions.open(tx, user));
  /** The ids of the sessions in the audit trail that ended by a replayed token, each by its user. */
  const reuses = async (): Promise<string[]> => {
    const rows = await database.all<{ details: string; entityId: number; userId: number }>(
      `SELECT details, entity_id AS entityId, user_id AS userId FROM Logs
       WHERE action_type = 'token_reuse' ORDER BY log_id`,
    );
    return rows.map((row) => {
      const details = JSON.parse(row.details);
      assert.deepEqual([row.entityId, row.userId, details.actor_id], [userId, userId, userId]);
      assert.deepEqual([details.address, details.request_id], [ACTOR.address, ACTOR.requestId]);
      return details.session_id;
    });
  };
  const row = async (tokens: Tokens) => {
    const session = await database.first<{
      expiresAt: Date;
      lastUsedAt: Date;
      pendingTokenHash: string | null;
      revokedAt: Date | null;
      revokedReason: string | null;
    }>(
      `SELECT expires_at AS expiresAt, last_used_at AS lastUsedAt, revoked_at AS revokedAt,
         pending_token_hash AS pendingTokenHash, revoked_reason AS revokedReason
       FROM Sessions WHERE session_id = @id`,
      { id: tokens.session_id },
    );
    assert.ok(session);
    return session;
  };
  return { database, clock, jwt, reuses, process, user, sessions, open, row };
}

export async function inMemory(t: TestContext) {
  const database = openSqlite({ file: ":memory:" });
  t.after(() => database.close());
  return setUp(database);
}
