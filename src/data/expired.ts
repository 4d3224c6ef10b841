import type { Queryable } from "./database.ts";
import { count } from "./filters.ts";

/** Sessions may be revoked or not, resets used or not: they are kept as long. */
type Table = "Sessions" | "Password_Resets";

const expired = (table: Table) => `FROM ${table} WHERE expires_at < @before`;

/** How many expired before `before`. */
export function countExpired(q: Queryable, table: Table, before: Date) {
  return count(q, expired(table), { before });
}

/** Returns how many. */
export function deleteExpired(q: Queryable, table: Table, before: Date) {
  return q.run(`DELETE ${expired(table)}`, { before });
}
