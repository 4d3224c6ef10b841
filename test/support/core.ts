import assert from "node:assert/strict";
import type { Database } from "../../src/data/database.ts";
import { findUser } from "../../src/data/users.ts";
import { createAudit } from "../../src/domain/audit.ts";
import { type Caller, type Core, createAuthority } from "../../src/domain/authority.ts";

/** What the domain is made with, on this database and clock. Nobody seals the audit trail. */
export function coreOf(database: Database, now = () => new Date()): Core {
  const audit = createAudit({ now, epoch: { number: 1, key: Buffer.alloc(32, "test") } });
  return { database, authority: createAuthority(database), audit, now };
}

/** What the guard makes of a request of the user, with a token without a session unless told. */
export async function callerOf(
  database: Database,
  userId: number,
  sessionId: string | null = null,
): Promise<Caller> {
  const user = await findUser(database, userId);
  assert.ok(user);
  return { userId, sessionId, user, address: "127.0.0.1", requestId: "r" };
}
