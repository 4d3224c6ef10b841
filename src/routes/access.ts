import type { Database } from "../data/database.ts";
import type { Actor } from "../domain/audit.ts";
import type { Authority, Caller, Level } from "../domain/authority.ts";
import type { Sessions } from "../domain/sessions.ts";
import { AppError } from "../errors.ts";
import type { Request } from "../http/request.ts";

/** Who passes is in the table of routes. */
export type AccessLevel = "public" | Level;

interface Parts {
  database: Database;
  sessions: Sessions;
  authority: Authority;
}

/** The guard of every route: who calls, or 401, or 403. */
export function createGuard({ database, sessions, authority }: Parts) {
  return async (level: AccessLevel, request: Request): Promise<Caller | undefined> => {
    if (level === "public") return undefined;
    const caller = { ...actorOf(request), ...sessions.verifyAccess(bearerToken(request)) };
    request.logFields.user_id = caller.userId;
    return { ...caller, user: await authority.check(database, caller, level) };
  };
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
