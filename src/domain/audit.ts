import { insertAuditRow } from "../data/audit.ts";
import type { Queryable } from "../data/database.ts";

/** Who does something, from where, in which request. `userId` is null while nobody is known. */
export interface Actor {
  userId: number | null;
  address: string | null;
  requestId: string | null;
}

/** The server itself. */
export const SYSTEM: Actor = { userId: null, address: null, requestId: null };

export type Action =
  | "user_register"
  | "login"
  | "login_failed"
  | "token_reuse"
  | "user_self_update"
  | "user_admin_update"
  | "user_activate"
  | "user_delete"
  | "path_create"
  | "path_update"
  | "path_delete"
  | "document_upload"
  | "document_download"
  | "document_move"
  | "document_delete";

/**
 * Adds a row to the audit trail, in the transaction of what it records. `details` never holds a
 * password, a token or file contents. The actor's id is in the details as well, because a deleted
 * user's reference becomes NULL.
 */
export async function record(
  tx: Queryable,
  action: Action,
  { userId, address, requestId }: Actor,
  entityId: number | null,
  now: Date,
  details: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const all = { actor_id: userId, address, request_id: requestId, ...details };
  await insertAuditRow(tx, { at: now, action, userId, entityId, details: JSON.stringify(all) });
}
