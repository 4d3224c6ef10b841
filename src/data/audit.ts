import type { Queryable } from "./database.ts";

export interface LogEntry {
  timestamp: Date;
  actionType: string;
  userId: number | null;
  entityId: number | null;
  /** JSON text. */
  details: string;
}

export async function insertLog(q: Queryable, entry: LogEntry): Promise<void> {
  await q.insert(
    "Logs",
    {
      log_timestamp: entry.timestamp,
      action_type: entry.actionType,
      user_id: entry.userId,
      entity_id: entry.entityId,
      details: entry.details,
    },
    "log_id",
  );
}
