import { type Database, ForeignKeyViolation, type Queryable } from "../data/database.ts";
import { findSignedIn, findUser, type User } from "../data/users.ts";
import { AppError } from "../errors.ts";
import type { Actor, Audit } from "./audit.ts";

export const ADMIN_ROLE = 99;
const MAX_REMOVALS = 5;

/** Each level asks for all that the one before asks. */
export type Level = "user" | "active" | "admin";

/** Who acts, as the guard of the routes found them. */
export interface Caller extends Actor {
  userId: number;
  /** Null for a token of the reference system, which has no session. */
  sessionId: string | null;
  user: User;
}

/** What every part of the domain that changes something is made with. */
export interface Core {
  database: Database;
  authority: Authority;
  audit: Audit;
  now: () => Date;
}

export type Authority = ReturnType<typeof createAuthority>;

/**
 * Every change that a caller makes goes through `act`: a request may be held open while its caller
 * is demoted. A token that expires meanwhile is good to the end.
 */
export function createAuthority(database: Database) {
  /** The user as the database has them now. 401 or 403 when they may not. */
  async function check(
    q: Queryable,
    { userId, sessionId }: Pick<Caller, "userId" | "sessionId">,
    level: Level,
  ): Promise<User> {
    const user = await findSignedIn(q, userId, sessionId);
    if (!user) throw badAccessToken();
    if (level !== "user" && !user.isActive) {
      const state = user.roleId === null ? "pending role assignment" : "not active";
      throw forbidden(`Your account is ${state}. Please contact an administrator.`);
    }
    if (sessionId !== null && user.liveSessionId === null) throw badAccessToken();
    if (level === "admin" && user.roleId !== ADMIN_ROLE)
      throw forbidden("You are not authorized to perform this action.");
    return user;
  }

  /** A transaction that begins with `check`. 401 also when the caller is deleted before its end. */
  async function act<Result>(
    caller: Caller,
    level: Level,
    work: (tx: Queryable, user: User) => Promise<Result>,
  ): Promise<Result> {
    try {
      return await database.transaction(async (tx) => work(tx, await check(tx, caller, level)));
    } catch (error) {
      // What the caller wrote, the audit row at least, references them.
      if (error instanceof ForeignKeyViolation && !(await findUser(database, caller.userId)))
        throw badAccessToken(error);
      throw error;
    }
  }

  /**
   * As `act`, for an admin who deletes a `what` ("user"): again when a row slipped in that
   * references it. Throws `conflict` while rows of a table that this server does not know do.
   */
  async function remove<Result>(
    what: string,
    caller: Caller,
    work: (tx: Queryable) => Promise<Result>,
  ): Promise<Result> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await act(caller, "admin", work);
      } catch (error) {
        if (!(error instanceof ForeignKeyViolation)) throw error;
        if (attempt < MAX_REMOVALS) continue;
        const detail = `Cannot delete this ${what}: rows of another table still reference it.`;
        throw new AppError("conflict", detail, { cause: error });
      }
    }
  }

  return { check, act, remove };
}

export const badAccessToken = (cause?: unknown) =>
  new AppError("not_authenticated", "Could not validate credentials", { cause });

const forbidden = (detail: string) => new AppError("forbidden", detail);
