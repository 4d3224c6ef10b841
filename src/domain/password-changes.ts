import { hash, randomBytes } from "node:crypto";
import type * as v from "valibot";
import * as resets from "../data/password-resets.ts";
import { lockUser, updateUser } from "../data/users.ts";
import { AppError } from "../errors.ts";
import type { Passwords } from "../security/passwords.ts";
import type { Actor } from "./audit.ts";
import type { Caller, Core } from "./authority.ts";
import { password, typed } from "./credentials.ts";
import type { Sessions } from "./sessions.ts";
import { fields } from "./text.ts";

export const passwordChange = fields({ current_password: typed, new_password: password });
export const passwordReset = fields({ reset_token: typed, new_password: password });

const RESET_TTL_MS = 60 * 60 * 1000;

export type PasswordChanges = ReturnType<typeof createPasswordChanges>;

export function createPasswordChanges(core: Core, passwords: Passwords, sessions: Sessions) {
  const { database, authority, audit, now } = core;

  return {
    /** Ends the user's other sessions and resets. 400 for a wrong current password. */
    async change(
      caller: Caller,
      input: v.InferOutput<typeof passwordChange>,
      signal: AbortSignal,
    ): Promise<void> {
      const { userId, sessionId } = caller;
      const { passwordHash } = caller.user;
      const wrongPassword = () => refused("The current password is wrong.");
      if (!(await passwords.verify(input.current_password, passwordHash, signal)))
        throw wrongPassword();
      const newHash = await passwords.hash(input.new_password, signal);
      await authority.act(caller, "active", async (tx) => {
        const user = await lockUser(tx, userId);
        // Of two changes at once the second one knows an old password.
        if (user?.passwordHash !== passwordHash) throw wrongPassword();
        await updateUser(tx, userId, { password_hash: newHash });
        await sessions.revokeAll(tx, userId, "password_change", sessionId);
        await resets.deletePasswordResets(tx, userId);
        await audit.record(tx, "password_change", caller, userId);
      });
    },

    /** A token with which the user's password can be set once. The one before is dead. */
    async issueReset(caller: Caller, userId: number): Promise<{ token: string; expiresAt: Date }> {
      const token = randomBytes(32).toString("base64url");
      const createdAt = now();
      const expiresAt = new Date(createdAt.getTime() + RESET_TTL_MS);
      await authority.act(caller, "admin", async (tx) => {
        if (!(await lockUser(tx, userId))) throw new AppError("not_found", "User not found");
        const reset = { userId, tokenHash: hash("sha256", token), createdAt, expiresAt };
        await resets.insertPasswordReset(tx, reset);
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
      const tokenHash = hash("sha256", input.reset_token);
      await database.transaction(async (tx) => {
        const reset = await resets.findPasswordReset(tx, tokenHash, now());
        const user = reset && (await lockUser(tx, reset.userId));
        if (!reset || !user?.isActive || !(await resets.usePasswordReset(tx, reset.resetId, now())))
          throw refused("The reset token is not valid, was used or has expired.");
        const { userId } = user;
        await updateUser(tx, userId, { password_hash: newHash });
        await sessions.revokeAll(tx, userId, "password_reset");
        await audit.record(tx, "password_reset", { ...actor, userId }, userId, { event: "used" });
      });
    },
  };
}

const refused = (detail: string) => new AppError("bad_request", detail);
