import type { Queryable } from "./database.ts";

/** Adds a row to the audit trail, the table `Logs`; `details` is JSON text. */
export async function insertAuditRow(
  q: Queryable,
  row: {
    at: Date;
    action: string;
    userId: number | null;
    entityId: number | null;
    details: string;
  },
): Promise<void> {
  await q.run(
    `INSERT INTO Logs (log_timestamp, action_type, user_id, entity_id, details)
     VALUES (@at, @action, @userId, @entityId, @details)`,
    row,
  );
}
