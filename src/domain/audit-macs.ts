import { createHmac } from "node:crypto";
import type { AuditHead, AuditRow } from "../data/audit.ts";

/** The part of the audit trail that one key proves. */
export interface Epoch {
  number: number;
  key: Buffer;
}

export type End = Pick<AuditHead, "length" | "lastMac">;

export const START: End = { length: 0, lastMac: "0".repeat(64) };

/** DATETIME rounds to 3.33 ms. */
const ROUNDING = 10;

/** HMAC-SHA256 in hex. The JSON tells the three kinds and the epochs apart. */
function mac({ number, key }: Epoch, kind: string, ...content: (string | number | null)[]) {
  const text = JSON.stringify([kind, number, ...content]);
  return createHmac("sha256", key).update(text).digest("hex");
}

/**
 * Proves what a row says. Its user and time are in `details` as well; the columns are left out, for
 * a deleted user's reference becomes NULL and a DATETIME is rounded.
 */
export function rowMac(epoch: Epoch, row: Pick<AuditRow, "action" | "entityId" | "details">) {
  return mac(epoch, "row", row.action, row.entityId, row.details);
}

/** With one more row. Proves the row's place and all that is before it. */
export function extend(epoch: Epoch, end: End, row: AuditRow): End {
  const length = end.length + 1;
  return { length, lastMac: mac(epoch, "chain", length, row.logId, row.rowMac, end.lastMac) };
}

export function headMac(epoch: Epoch, { length, lastMac }: End): string {
  return mac(epoch, "head", length, lastMac);
}

/** What is wrong with a row, wherever it stands; undefined when nothing is. */
export function rowFault(epoch: Epoch, row: AuditRow): string | undefined {
  if (row.rowMac !== rowMac(epoch, row)) return "was changed or forged";
  const { actor_id: actorId, at } = JSON.parse(String(row.details));
  if (row.userId !== null && row.userId !== actorId) return "has another user_id than was recorded";
  const drift = Math.abs(Number(row.loggedAt) - Date.parse(at));
  return drift <= ROUNDING ? undefined : "has another log_timestamp than was recorded";
}
