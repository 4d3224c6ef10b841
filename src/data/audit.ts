import { type Database, escapeLike, type Queryable, type Window } from "./database.ts";
import { columns, filters } from "./filters.ts";

/** A row of `Logs`. */
export interface AuditRow {
  logId: number;
  loggedAt: Date | null;
  action: string;
  userId: number | null;
  entityId: number | null;
  /** JSON text; in rows that others wrote, anything. */
  details: string | null;
  rowMac: string | null;
  /** From 1 on, without gaps, in each epoch; null until the row is sealed. */
  sequence: number | null;
  chainMac: string | null;
}

/** The end of one epoch's chain, proved by `headMac`; `length` counts the sealed rows. */
export interface AuditHead {
  epoch: number;
  wrappedKey: string;
  length: number;
  lastMac: string;
  headMac: string;
}

const COLUMNS = `${columns("l", "logId userId entityId details rowMac chainMac")},
  l.log_timestamp AS loggedAt, l.action_type AS action, l.chain_sequence AS sequence`;
const SELECT_ROW = `SELECT ${COLUMNS} FROM Logs l`;
const SELECT_HEAD = `SELECT ${columns("h", "epoch wrappedKey length lastMac headMac")}
  FROM Audit_Heads h`;
const FIRST = { skip: 0, limit: 1 };

type Recorded = Pick<AuditRow, "action" | "userId" | "entityId" | "details" | "rowMac">;

export function insertAuditRow(q: Queryable, row: Recorded & { at: Date; epoch: number }) {
  return q.defer(
    `INSERT INTO Logs
       (log_timestamp, action_type, user_id, entity_id, details, row_mac, chain_epoch)
     VALUES (@at, @action, @userId, @entityId, @details, @rowMac, @epoch)`,
    row,
  );
}

/** `userId`: who acted, also when they have been deleted since. Without the instant `until`. */
interface AuditFilter {
  action?: string | undefined;
  userId?: number | undefined;
  since?: Date | undefined;
  until?: Date | undefined;
}

/** Newest first: by id, because DATETIME columns round to 3.33 ms. */
export function listAuditRows(database: Database, filter: AuditFilter, window: Window) {
  const { where, params } = filters(filter, {
    action: "l.action_type = CAST(@action AS VARCHAR(50))",
    userId: "(l.user_id = @userId OR l.user_id IS NULL AND l.details LIKE @actor ESCAPE '\\')",
    since: "l.log_timestamp >= @since",
    until: "l.log_timestamp < @until",
  });
  const actor = `${escapeLike(`{"actor_id":${filter.userId},`)}%`;
  const { userId, since, until } = filter;
  const isIndexed = userId === undefined && since === undefined && until === undefined;
  const list = { columns: COLUMNS, from: "Logs l", joins: "", where, key: "l.log_id", isIndexed };
  return database.list<AuditRow>(list, { ...params, actor }, window);
}

/** Rows of the epoch that are not sealed, after the row `after`, oldest first. */
export function listUnsealed(q: Queryable, epoch: number, after: number, limit: number) {
  const sql = `${SELECT_ROW} WHERE l.chain_epoch = @epoch AND l.chain_sequence IS NULL
    AND l.log_id > @after ORDER BY l.log_id`;
  return q.page<AuditRow>(sql, { epoch, after }, { skip: 0, limit });
}

/**
 * Sealed rows after the one of sequence `after`, and any second row of that sequence; after 0 all,
 * with sequences below 1, which nobody gives.
 */
export function listSealed(q: Queryable, epoch: number, after: number, limit: number) {
  const from = after > 0 ? ">= @after" : "IS NOT NULL";
  const sql = `${SELECT_ROW} WHERE l.chain_epoch = @epoch AND l.chain_sequence ${from}
    ORDER BY l.chain_sequence, l.log_id`;
  return q.page<AuditRow>(sql, { epoch, after }, { skip: after > 0 ? 1 : 0, limit });
}

export function sealRow(tx: Queryable, logId: number, sequence: number, chainMac: string) {
  return tx.defer(
    "UPDATE Logs SET chain_sequence = @sequence, chain_mac = @chainMac WHERE log_id = @logId",
    { logId, sequence, chainMac },
  );
}

/** Outside of every epoch. */
export function findRowsOutside(q: Queryable) {
  return q.first<{ total: number; newest: number | null }>(
    "SELECT COUNT(*) AS total, MAX(log_id) AS newest FROM Logs WHERE chain_epoch IS NULL",
  );
}

/** The first row of an epoch that has no head. */
export async function findRowWithoutHead(q: Queryable) {
  const sql = `SELECT l.log_id AS logId, l.chain_epoch AS epoch FROM Logs l
    WHERE l.chain_epoch IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM Audit_Heads h WHERE h.epoch = l.chain_epoch)
    ORDER BY l.chain_epoch, l.log_id`;
  return (await q.page<{ logId: number; epoch: number }>(sql, {}, FIRST))[0];
}

/** The first row that has the mac of an older one. */
export async function findCopiedRow(q: Queryable) {
  const sql = `SELECT MAX(log_id) AS logId, MIN(log_id) AS original FROM Logs
    WHERE chain_epoch IS NOT NULL GROUP BY row_mac HAVING COUNT(*) > 1 ORDER BY MAX(log_id)`;
  return (await q.page<{ logId: number; original: number }>(sql, {}, FIRST))[0];
}

export function listHeads(q: Queryable) {
  return q.all<AuditHead>(`${SELECT_HEAD} ORDER BY epoch`);
}

export function findHead(q: Queryable, epoch: number) {
  return q.first<AuditHead>(`${SELECT_HEAD} WHERE epoch = @epoch`, { epoch });
}

/** The head. Makes transactions that seal its epoch take turns. */
export async function lockHead(tx: Queryable, epoch: number) {
  await tx.defer("UPDATE Audit_Heads SET length = length WHERE epoch = @epoch", { epoch });
  return findHead(tx, epoch);
}

/** Throws `UniqueViolation` when the epoch has begun already. */
export function insertHead(q: Queryable, head: AuditHead) {
  return q.insert("Audit_Heads", { ...head }, "epoch");
}

export function updateHead(tx: Queryable, head: Omit<AuditHead, "wrappedKey">) {
  return tx.defer(
    `UPDATE Audit_Heads SET length = @length, last_mac = @lastMac, head_mac = @headMac
     WHERE epoch = @epoch`,
    { ...head },
  );
}

export function updateWrappedKey(q: Queryable, epoch: number, wrapped: string) {
  const sql = "UPDATE Audit_Heads SET wrapped_key = @wrapped WHERE epoch = @epoch";
  return q.run(sql, { epoch, wrapped });
}
