import type { Queryable } from "./database.ts";
import { columns } from "./filters.ts";

/** Of the token only the SHA-256 is kept, in hex. */
interface PasswordReset {
  resetId: number;
  userId: number;
  tokenHash: string;
  createdAt: Date;
  expiresAt: Date;
}

/** Only the newest reset of a user lives, also where two are issued at once. */
const IS_LIVE = `used_at IS NULL AND expires_at > @now AND reset_id =
  (SELECT MAX(x.reset_id) FROM Password_Resets x WHERE x.user_id = Password_Resets.user_id)`;

/** Returns the new reset's id. The user's earlier ones are dead from now on. */
export function insertPasswordReset(q: Queryable, reset: Omit<PasswordReset, "resetId">) {
  return q.insert("Password_Resets", { ...reset }, "reset_id");
}

/** If it is neither used nor expired nor replaced. */
export function findPasswordReset(q: Queryable, tokenHash: string, now: Date) {
  return q.first<PasswordReset>(
    `SELECT ${columns("Password_Resets", "resetId userId tokenHash createdAt expiresAt")}
     FROM Password_Resets WHERE token_hash = @tokenHash AND ${IS_LIVE}`,
    { tokenHash, now },
  );
}

/** Marks a live reset as used. Of several callers at once one gets true. */
export async function usePasswordReset(q: Queryable, resetId: number, now: Date) {
  const sql = `UPDATE Password_Resets SET used_at = @now WHERE reset_id = @resetId AND ${IS_LIVE}`;
  return (await q.run(sql, { resetId, now })) === 1;
}

/** Live or not. */
export function deletePasswordResets(q: Queryable, userId: number) {
  return q.run("DELETE FROM Password_Resets WHERE user_id = @userId", { userId });
}
