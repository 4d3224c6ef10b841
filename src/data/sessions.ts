import type { Params, Queryable } from "./database.ts";

/** One login. Of refresh tokens only the SHA-256 of their ids is kept, in hex. */
export interface Session {
  sessionId: string;
  userId: number;
  currentTokenHash: string;
  pendingTokenHash: string | null;
  pendingIssuedAt: Date | null;
  createdAt: Date;
  lastUsedAt: Date;
  expiresAt: Date;
  revokedAt: Date | null;
  revokedReason: string | null;
}

export async function insertSession(
  q: Queryable,
  session: Pick<Session, "sessionId" | "userId" | "currentTokenHash" | "createdAt" | "expiresAt">,
): Promise<void> {
  const { sessionId, userId, currentTokenHash, createdAt, expiresAt } = session;
  await q.run(
    `INSERT INTO Sessions (session_id, user_id, current_token_hash, created_at, last_used_at, expires_at)
     VALUES (@sessionId, @userId, @currentTokenHash, @createdAt, @createdAt, @expiresAt)`,
    { sessionId, userId, currentTokenHash, createdAt, expiresAt },
  );
}

export function findSession(q: Queryable, sessionId: string): Promise<Session | undefined> {
  return q.first<Session>(
    `SELECT session_id AS sessionId, user_id AS userId, current_token_hash AS currentTokenHash,
       pending_token_hash AS pendingTokenHash, pending_issued_at AS pendingIssuedAt, created_at AS createdAt,
       last_used_at AS lastUsedAt, expires_at AS expiresAt, revoked_at AS revokedAt, revoked_reason AS revokedReason
     FROM Sessions WHERE session_id = @sessionId`,
    { sessionId },
  );
}

/** The refresh tokens that a session is to know from `pendingIssuedAt` on. */
export interface TokenHashes {
  currentTokenHash: string;
  pendingTokenHash: string;
  pendingIssuedAt: Date;
}

/**
 * Replaces the token hashes of a live session if they still are those of `seen`: compare and swap in one statement. False when
 * somebody else was faster; the caller reads again.
 */
export async function swapTokens(
  q: Queryable,
  seen: Session,
  next: TokenHashes,
  now: Date,
): Promise<boolean> {
  const changed = await q.run(
    `UPDATE Sessions SET current_token_hash = @currentTokenHash, pending_token_hash = @pendingTokenHash,
       pending_issued_at = @pendingIssuedAt, last_used_at = @now
     WHERE session_id = @sessionId AND current_token_hash = @seenCurrent
       AND COALESCE(pending_token_hash, '') = @seenPending AND revoked_at IS NULL`,
    {
      currentTokenHash: next.currentTokenHash,
      pendingTokenHash: next.pendingTokenHash,
      pendingIssuedAt: next.pendingIssuedAt,
      now,
      sessionId: seen.sessionId,
      seenCurrent: seen.currentTokenHash,
      seenPending: seen.pendingTokenHash ?? "",
    },
  );
  return changed === 1;
}

function revokeWhere(
  q: Queryable,
  condition: string,
  params: Params,
  reason: string,
  now: Date,
): Promise<number> {
  return q.run(
    `UPDATE Sessions SET revoked_at = @now, revoked_reason = @reason WHERE ${condition} AND revoked_at IS NULL`,
    { ...params, reason, now },
  );
}

/** False when the session is absent or was revoked before. */
export async function revokeSession(
  q: Queryable,
  sessionId: string,
  reason: string,
  now: Date,
): Promise<boolean> {
  return (await revokeWhere(q, "session_id = @sessionId", { sessionId }, reason, now)) === 1;
}

/** Revokes the user's live sessions but `exceptSessionId`; returns how many. */
export function revokeSessionsOfUser(
  q: Queryable,
  userId: number,
  reason: string,
  now: Date,
  exceptSessionId: string | undefined,
): Promise<number> {
  const params = { userId, exceptSessionId: exceptSessionId ?? "" };
  return revokeWhere(
    q,
    "user_id = @userId AND session_id <> @exceptSessionId",
    params,
    reason,
    now,
  );
}

/** Removes sessions that expired before `before`, revoked or not; returns how many. */
export function deleteExpiredSessions(q: Queryable, before: Date): Promise<number> {
  return q.run("DELETE FROM Sessions WHERE expires_at < @before", { before });
}
