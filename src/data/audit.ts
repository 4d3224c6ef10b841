import type { Queryable } from "./database.ts";

/** One row of the audit trail, the table `Logs`. */
export interface AuditRow {
  timestamp: Date;
  actionType: string;
  userId: number | null;
  entityId: number | null;
  /** JSON text. */
  details: string;
}

export async function insertAuditRow(q: Queryable, row: AuditRow): Promise<void> {
  const { timestamp, actionType, userId, entityId, details } = row;
  await q.run(
    `INSERT INTO Logs (log_timestamp, action_type, user_id, entity_id, details)
     VALUES (@timestamp, @actionType, @userId, @entityId, @details)`,
    { timestamp, actionType, userId, entityId, details },
  );
}
