import { insertAuditRow } from "../data/audit.ts";
import type { Queryable } from "../data/database.ts";

/** Who acts, from where, in which request. `userId` is null while nobody is known. */
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
  | "logout"
  | "token_reuse"
  | "password_change"
  | "password_reset"
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

export interface Audit {
  /**
   * Adds a row to the audit trail. `details` never holds a password, a token or file contents. It
   * also gets the actor's id, because a deleted user's reference becomes NULL.
   */
  record(
    tx: Queryable,
    action: Action,
    actor: Actor,
    entityId: number | null,
    details?: Readonly<Record<string, unknown>>,
  ): Promise<void>;
}

export function createAudit({ now }: { now: () => Date }): Audit {
  return {
    record(tx, action, { userId, address, requestId }, entityId, details) {
      const all = { actor_id: userId, address, request_id: requestId, ...details };
      const row = { at: now(), action, userId, entityId, details: JSON.stringify(all) };
      return insertAuditRow(tx, row);
    },
  };
}
