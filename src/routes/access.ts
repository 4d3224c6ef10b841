import type { Actor } from "../domain/audit.ts";
import type { Caller, Core, Level } from "../domain/authority.ts";
import type { Sessions } from "../domain/sessions.ts";
import { AppError } from "../errors.ts";
import type { Request } from "../http/request.ts";

/** Who passes is in the table of routes. */
export type AccessLevel = "public" | Level;

/** The guard of every route: who calls, or 401, or 403. */
export function createGuard({ database, authority }: Core, sessions: Sessions) {
  async function callerOf(level: Level, request: Request): Promise<Caller> {
    const { userId, sessionId } = sessions.verifyAccess(bearerToken(request));
    request.logFields.user_id = userId;
    const user = await authority.check(database, { userId, sessionId }, level);
    return { userId, sessionId, address: request.address, requestId: request.id, user };
  }
  return (level: AccessLevel, request: Request) =>
    level === "public" ? undefined : callerOf(level, request);
}

/** The token of `Authorization: Bearer` (RFC 6750 §2.1). 401 without one. */
export function bearerToken(request: Request): string {
  const token = /^bearer +(\S+) *$/i.exec(request.headers.authorization ?? "")?.[1];
  if (token === undefined) throw new AppError("not_authenticated", "Not authenticated");
  return token;
}

/** Who acts while no user is known. */
export function actorOf({ address, id }: Request): Actor {
  return { userId: null, address, requestId: id };
}
