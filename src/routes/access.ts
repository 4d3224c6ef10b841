import type { User } from "../data/users.ts";
import type { Actor } from "../domain/audit.ts";
import { badAccessToken, type Sessions } from "../domain/sessions.ts";
import { ADMIN_ROLE, PENDING_ACCOUNT } from "../domain/users.ts";
import { AppError } from "../errors.ts";
import type { Request } from "../http/request.ts";

/** Who passes is in the table of routes; each level asks for all that the one before asks. */
export type Level = "public" | "user" | "active" | "admin";

/**
 * The guard of every route: who calls, or 401, or 403. User, role and session are read from the
 * database on every request, so that a demotion, a deactivation or a session's end works at once.
 */
export function createGuard(sessions: Sessions) {
  return async (level: Level, request: Request): Promise<User | undefined> => {
    if (level === "public") return undefined;
    const { user, isLive } = await sessions.authenticate(bearerToken(request));
    request.logFields.user_id = user.userId;
    if (level !== "user" && !user.isActive) throw new AppError("forbidden", PENDING_ACCOUNT);
    if (!isLive) throw badAccessToken();
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
