import type { Queryable } from "./database.ts";
import { columns, count } from "./filters.ts";

/** One login. Of refresh tokens only the SHA-256 of their ids is kept, in hex. */
export interface Session {
  sessionId: string;
  userId: number;
  currentTokenHash: string;
  pendingTokenHash: string | null;
  pendingIssuedAt: Date | null;
  expiresAt: Date;
}

const SESSION = columns(
  "s",
  "sessionId userId currentTokenHash pendingTokenHash pendingIssuedAt expiresAt",
);

export function insertSession(
  q: Queryable,
  session: Omit<Session, "pendingTokenHash" | "pendingIssuedAt"> & { createdAt: Date },
) {
  return q.defer(
    `INSERT INTO Sessions (session_id, user_id, current_token_hash, created_at, last_used_at,
       expires_at)
     VALUES (@sessionId, @userId, @currentTokenHash, @createdAt, @createdAt, @expiresAt)`,
    session,
  );
}

/** The user's session, if it was not revoked; it may have expired. */
export function findSession(q: Queryable, sessionId: string, userId: number) {
  return q.first<Session>(
    `SELECT ${SESSION} FROM Sessions s
     WHERE s.session_id = @sessionId AND s.user_id = @userId AND s.revoked_at IS NULL`,
    { sessionId, userId },
  );
}

/** Replaces the tokens of a live session if they still are those of `seen`; whether it did. */
export async function swapTokens(
  q: Queryable,
  seen: Session,
  next: { currentTokenHash: string; pendingTokenHash: string; pendingIssuedAt: Date },
  now: Date,
): Promise<boolean> {
  const changed = await q.run(
    `UPDATE Sessions SET current_token_hash = @currentTokenHash, last_used_at = @now,
       pending_token_hash = @pendingTokenHash, pending_issued_at = @pendingIssuedAt
     WHERE session_id = @sessionId AND current_token_hash = @seenCurrent
       AND COALESCE(pending_token_hash, '') = @seenPending AND revoked_at IS NULL`,
    {
      ...next,
      now,
      sessionId: seen.sessionId,
      seenCurrent: seen.currentTokenHash,
      seenPending: seen.pendingTokenHash ?? "",
    },
  );
  return changed === 1;
}

/** Ends the session, or those of the user but for `exceptSessionId`; returns how many lived. */
export function revokeSessions(
  q: Queryable,
  which: { sessionId: string } | { userId: number; exceptSessionId?: string },
  reason: string,
  now: Date,
): Promise<number> {
  let condition = "userId" in which ? "user_id = @userId" : "session_id = @sessionId";
  if ("exceptSessionId" in which) condition += " AND session_id <> @exceptSessionId";
  return q.run(
    `UPDATE Sessions SET revoked_at = @now, revoked_reason = @reason
     WHERE ${condition} AND revoked_at IS NULL`,
    { ...which, reason, now },
  );
}

/** Sessions may be revoked or not, resets used or not: they are kept as long. */
type Table = "Sessions" | "Password_Resets";

const expired = (table: Table) => `FROM ${table} WHERE expires_at < @before`;

/** How many expired before `before`. */
export function countExpired(q: Queryable, table: Table, before: Date) {
  return count(q, expired(table), { before });
}

/** Returns how many. */
export function deleteExpired(q: Queryable, table: Table, before: Date) {
  return q.run(`DELETE ${expired(table)}`, { before });
}
