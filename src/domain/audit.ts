import type { Queryable } from "../data/database.ts";
import { insertLog } from "../data/logs.ts";

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
 * Adds a row to the audit trail, in the transaction of what it records. `details` never holds a password, a token or file
 * contents. The actor's id stands in the details as well, because a deleted user's reference becomes NULL.
 */
export async function record(
  tx: Queryable,
  action: Action,
  actor: Actor,
  entityId: number | null,
  now: Date,
  details: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  await insertLog(tx, {
    timestamp: now,
    actionType: action,
    userId: actor.userId,
    entityId,
    details: JSON.stringify({
      actor_id: actor.userId,
      address: actor.address,
      request_id: actor.requestId,
      ...details,
    }),
  });
}
