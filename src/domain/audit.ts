import { randomUUID } from "node:crypto";
import { insertAuditRow } from "../data/audit.ts";
import type { Queryable } from "../data/database.ts";
import { type Epoch, rowMac } from "./audit-macs.ts";

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
  | "document_reprocess"
  | "document_move"
  | "document_delete";

export interface Audit {
  /**
   * Adds a row to the audit trail, in the transaction of what it records. `details` never holds a
   * password, a token or file contents.
   */
  record(
    tx: Queryable,
    action: Action,
    actor: Actor,
    entityId: number | null,
    details?: Readonly<Record<string, unknown>>,
  ): Promise<void>;
}

export function createAudit(parts: {
  now: () => Date;
  epoch: Epoch;
  onRecord?: () => void;
}): Audit {
  const { now, epoch, onRecord } = parts;
  return {
    async record(tx, action, { userId, address, requestId }, entityId, details = {}) {
      const at = now();
      // The actor stays known when the user is deleted. The event's id tells a row from its copy.
      const own = { actor_id: userId, address, request_id: requestId, at, event_id: randomUUID() };
      // First, as the list's filter expects, and never replaced by one of the details.
      const row = { action, entityId, details: JSON.stringify({ ...own, ...details, ...own }) };
      const mac = rowMac(epoch, row);
      await insertAuditRow(tx, { ...row, at, userId, epoch: epoch.number, rowMac: mac });
      onRecord?.();
    },
  };
}
