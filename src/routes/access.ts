import type { Database } from "../data/database.ts";
import { findUser, findUserWithSession, type User } from "../data/users.ts";
import type { Actor } from "../domain/audit.ts";
import { ADMIN_ROLE, PENDING_ACCOUNT } from "../domain/users.ts";
import { AppError } from "../errors.ts";
import type { Request } from "../http/request.ts";
import { InvalidToken } from "../security/jwt.ts";
import type { Sessions } from "../security/sessions.ts";

/** Who passes is written in the table of routes; each level asks for all that the one before asks. */
export type Level = "public" | "user" | "active" | "admin";

/**
 * The guard of every route: who calls, or 401, or 403. User, role and session are read from the database on every request, so
 * that a demotion, a deactivation or the end of a session works at once.
 */
export function createGuard({
  database,
  sessions,
  now,
}: {
  database: Database;
  sessions: Sessions;
  now: () => Date;
}) {
  return async (level: Level, request: Request): Promise<User | undefined> => {
    if (level === "public") return undefined;
    const claims = verify(sessions, bearerToken(request));
    const user = await findCaller(database, Number(claims.sub), claims.sid, now());
    if (!user) throw badCredentials();
    request.logFields.user_id = user.userId;
    if (level !== "user" && !user.isActive) throw new AppError("forbidden", PENDING_ACCOUNT);
    if (user.sessionEnded) throw badCredentials();
    if (level === "admin" && user.roleId !== ADMIN_ROLE) {
      throw new AppError("forbidden", "You are not authorized to perform this action.");
    }
    return user;
  };
}

/** The token of `Authorization: Bearer` (RFC 6750 §2.1). 401 without one. */
export function bearerToken(request: Request): string {
  const token = /^bearer +(\S+) *$/i.exec(request.headers.authorization ?? "")?.[1];
  if (token === undefined) throw new AppError("not_authenticated", "Not authenticated");
  return token;
}

/** Who acts in this request, for the audit trail. */
export function actorOf<Id extends number | null>(
  request: Request,
  userId: Id,
): Actor & { userId: Id } {
  return { userId, address: request.address, requestId: request.id };
}

function badCredentials(cause?: unknown): AppError {
  return new AppError("not_authenticated", "Could not validate credentials", { cause });
}

function verify(sessions: Sessions, token: string) {
  try {
    return sessions.verifyAccess(token);
  } catch (error) {
    throw error instanceof InvalidToken ? badCredentials(error) : error;
  }
}

/** A token without `sid` was minted by the reference server, which knew no sessions: it lives until it expires. */
async function findCaller(
  database: Database,
  userId: number,
  sessionId: string | undefined,
  now: Date,
): Promise<(User & { sessionEnded: boolean }) | undefined> {
  if (sessionId === undefined) {
    const user = await findUser(database, userId);
    return user && { ...user, sessionEnded: false };
  }
  const user = await findUserWithSession(database, userId, sessionId);
  if (!user) return undefined;
  const alive =
    user.sessionRevokedAt === null && user.sessionExpiresAt !== null && user.sessionExpiresAt > now;
  return { ...user, sessionEnded: !alive };
}
