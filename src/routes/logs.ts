import * as v from "valibot";
import { type AuditRow, listAuditRows } from "../data/audit.ts";
import type { Database } from "../data/database.ts";
import { readQuery } from "../http/body.ts";
import { json, type Reply } from "../http/replies.ts";
import type { Request } from "../http/request.ts";
import { id, listReply, paging } from "./inputs.ts";

/** RFC 3339 §5.6, without leap seconds. */
const INSTANT =
  /^\d{4}-\d\d-\d\dT([01]\d|2[0-3])(:[0-5]\d){2}(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/;

/** An instant of the years that databases know. JavaScript itself takes a 30th of February. */
function isInstant(text: string): boolean {
  const year = new Date(text).getUTCFullYear();
  if (!INSTANT.test(text) || !(year >= 1 && year <= 9999)) return false;
  const day = text.slice(0, 10);
  return new Date(day).toISOString().startsWith(day);
}

const instant = v.pipe(
  v.string(),
  v.check(isInstant, "Must be an instant of RFC 3339, such as 2026-02-26T14:30:00Z"),
  v.transform((text) => new Date(text)),
);

const listQuery = v.object({
  ...paging(100),
  action_type: v.optional(v.pipe(v.string(), v.maxLength(50))),
  user_id: v.optional(id),
  since: v.optional(instant),
  until: v.optional(instant),
});

function logItem(row: AuditRow) {
  return {
    log_id: row.logId,
    log_timestamp: row.loggedAt,
    action_type: row.action,
    user_id: row.userId,
    entity_id: row.entityId,
    details: detailsOf(row.details),
  };
}

/** Others may have written any text. */
function detailsOf(text: string | null): unknown {
  try {
    const details = JSON.parse(String(text));
    return typeof details === "object" && !Array.isArray(details) ? details : text;
  } catch {
    return text;
  }
}

export function createLogRoutes({ database }: { database: Database }) {
  return {
    async list(request: Request): Promise<Reply> {
      const query = readQuery(request, listQuery);
      const { skip, limit, action_type: action, user_id: userId, ...span } = query;
      const filter = { action, userId, ...span };
      return json(listReply(await listAuditRows(database, filter, { skip, limit }), logItem));
    },
  };
}
