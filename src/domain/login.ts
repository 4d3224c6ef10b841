import * as v from "valibot";
import { ForeignKeyViolation } from "../data/database.ts";
import { findUser, findUserByEmail, lockUnchanged, lockUser } from "../data/users.ts";
import { AppError } from "../errors.ts";
import type { Passwords } from "../security/passwords.ts";
import type { Actor } from "./audit.ts";
import type { Core } from "./authority.ts";
import { email } from "./credentials.ts";
import type { Sessions, Tokens } from "./sessions.ts";

export type Login = ReturnType<typeof createLogin>;

/**
 * Opens a session by password. The same 401, after the same work, for an unknown address and a
 * wrong password; 403 for an inactive user whose password is right.
 */
export function createLogin({ database, audit }: Core, passwords: Passwords, sessions: Sessions) {
  return async (
    address: string,
    password: string,
    actor: Actor,
    signal?: AbortSignal,
  ): Promise<Tokens> => {
    const known = await findUserByEmail(database, address);
    const matches = await passwords.verify(password, known?.passwordHash, signal);
    // A refusal is returned, not thrown: its audit row is to be committed.
    const attempt = () =>
      database.transaction(async (tx) => {
        const isUnchanged = known && matches && (await lockUnchanged(tx, known));
        const read = matches ? lockUser : findUser;
        const user = isUnchanged ? known : known && (await read(tx, known.userId));
        // The password may have been changed since.
        const proved = matches && user?.passwordHash === known?.passwordHash;
        const by = { ...actor, userId: user?.userId ?? null };
        if (user?.isActive && proved) {
          const tokens = await sessions.open(tx, user);
          await audit.record(tx, "login", by, user.userId, { session_id: tokens.session_id });
          return tokens;
        }
        const reason = user && proved ? "not_active" : "bad_credentials";
        // What else was typed may be a password in the wrong field.
        const attempted = v.is(email, address) ? { email: address } : {};
        const entityId = known?.userId ?? null;
        await audit.record(tx, "login_failed", by, entityId, { reason, ...attempted });
        return reason === "not_active"
          ? new AppError("forbidden", "User is not active")
          : new AppError("not_authenticated", "Incorrect email or password");
      });
    const outcome = await attempt().catch((error) => {
      // The user was deleted since the transaction found them.
      if (error instanceof ForeignKeyViolation) return attempt();
      throw error;
    });
    if (outcome instanceof AppError) throw outcome;
    return outcome;
  };
}
