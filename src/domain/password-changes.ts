import { createHash, randomBytes } from "node:crypto";
import * as v from "valibot";
import type { Queryable } from "../data/database.ts";
import {
  findPasswordReset,
  insertPasswordReset,
  usePasswordReset,
} from "../data/password-resets.ts";
import { lockUser, updateUser } from "../data/users.ts";
import { AppError } from "../errors.ts";
import type { Passwords } from "../security/passwords.ts";
import type { Actor } from "./audit.ts";
import type { Caller, Core } from "./authority.ts";
import { password } from "./credentials.ts";
import type { Sessions } from "./sessions.ts";
import { fields, text } from "./text.ts";

const given = v.pipe(text, v.maxLength(1000));

export const passwordChange = fields({ current_password: given, new_password: password });
export const passwordReset = fields({ reset_token: given, new_password: password });

/** Milliseconds. */
const RESET_TTL = 60 * 60 * 1000;

export type PasswordChanges = ReturnType<typeof createPasswordChanges>;

export function createPasswordChanges(core: Core, passwords: Passwords, sessions: Sessions) {
  const { database, authority, audit, now } = core;

  return {
    /** Ends the user's other sessions. 400 for a wrong current password. */
    async change(
      caller: Caller,
      input: v.InferOutput<typeof passwordChange>,
      signal: AbortSignal,
    ): Promise<void> {
      const { userId, sessionId } = caller;
      const { passwordHash } = caller.user;
      const proved = await passwords.verify(input.current_password, passwordHash, signal);
      if (!proved) throw wrongPassword();
      const newHash = await passwords.hash(input.new_password, signal);
      await authority.act(caller, "active", async (tx) => {
        const user = await lockUser(tx, userId);
        // Of two changes at once the second one knows an old password.
        if (user?.passwordHash !== passwordHash) throw wrongPassword();
        await updateUser(tx, userId, { password_hash: newHash });
        await sessions.revokeAll(tx, userId, "password_change", sessionId);
        await audit.record(tx, "password_change", caller, userId);
      });
    },

    /** A token with which the user's password can be set once. The one before is dead. */
    async issueReset(caller: Caller, userId: number): Promise<{ token: string; expiresAt: Date }> {
      const token = randomBytes(32).toString("base64url");
      const createdAt = now();
      const expiresAt = new Date(createdAt.getTime() + RESET_TTL);
      await authority.act(caller, "admin", async (tx) => {
        if (!(await lockUser(tx, userId))) throw new AppError("not_found", "User not found");
        const reset = { userId, tokenHash: hashOf(token), createdAt, expiresAt };
        await insertPasswordReset(tx, reset);
        await audit.record(tx, "password_reset", caller, userId, { event: "issued" });
      });
      return { token, expiresAt };
    },

    /** Ends all sessions of the user. The same 400, after the same work, for any bad token. */
    async useReset(
      input: v.InferOutput<typeof passwordReset>,
      actor: Actor,
      signal: AbortSignal,
    ): Promise<void> {
      const newHash = await passwords.hash(input.new_password, signal);
      await database.transaction(async (tx) => {
        const userId = await useUp(tx, hashOf(input.reset_token));
        await updateUser(tx, userId, { password_hash: newHash });
        await sessions.revokeAll(tx, userId, "password_reset");
        await audit.record(tx, "password_reset", { ...actor, userId }, userId, { event: "used" });
      });
    },
  };

  /** Whose the token is, which is dead from now on. */
  async function useUp(tx: Queryable, tokenHash: string): Promise<number> {
    const reset = await findPasswordReset(tx, tokenHash, now());
    const user = reset && (await lockUser(tx, reset.userId));
    if (!reset || !user?.isActive || !(await usePasswordReset(tx, reset.resetId, now())))
      throw new AppError("bad_request", "The reset token is not valid, was used or has expired.");
    return user.userId;
  }
}

const wrongPassword = () => new AppError("bad_request", "The current password is wrong.");

const hashOf = (token: string) => createHash("sha256").update(token).digest("hex");
