import { escapeLike, type Queryable } from "./database.ts";
import { filters } from "./filters.ts";

/** A row of the audit trail, the table `Logs`. */
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

/** The end of one epoch's chain. `headMac` proves it. */
export interface AuditHead {
  epoch: number;
  wrappedKey: string;
  /** The number of sealed rows. */
  length: number;
  lastMac: string;
  headMac: string;
}

const SELECT_ROW = `SELECT l.log_id AS logId, l.log_timestamp AS loggedAt,
  l.action_type AS action, l.user_id AS userId, l.entity_id AS entityId, l.details AS details,
  l.row_mac AS rowMac, l.chain_sequence AS sequence, l.chain_mac AS chainMac FROM Logs l`;
const SELECT_HEAD = `SELECT epoch AS epoch, wrapped_key AS wrappedKey, length AS length,
  last_mac AS lastMac, head_mac AS headMac FROM Audit_Heads`;

export async function insertAuditRow(
  q: Queryable,
  row: Pick<AuditRow, "action" | "userId" | "entityId"> & {
    at: Date;
    details: string;
    rowMac: string;
    epoch: number;
  },
): Promise<void> {
  await q.run(
    `INSERT INTO Logs
       (log_timestamp, action_type, user_id, entity_id, details, row_mac, chain_epoch)
     VALUES (@at, @action, @userId, @entityId, @details, @rowMac, @epoch)`,
    row,
  );
}

export interface AuditFilter {
  action?: string | undefined;
  /** Who acted, also when they have been deleted since. */
  userId?: number | undefined;
  /** Inclusive. */
  since?: Date | undefined;
  /** Exclusive. */
  until?: Date | undefined;
}

function auditFilters({ action, userId, since, until }: AuditFilter) {
  const { where, params } = filters([
    ["l.action_type = @action", "action", action],
    [
      "(l.user_id = @userId OR l.user_id IS NULL AND l.details LIKE @actor ESCAPE '\\')",
      "userId",
      userId,
    ],
    ["l.log_timestamp >= @since", "since", since],
    ["l.log_timestamp < @until", "until", until],
  ]);
  return { where, params: { ...params, actor: `${escapeLike(`{"actor_id":${userId},`)}%` } };
}

/** Newest first: by id, because DATETIME columns round to 3.33 ms. */
export function listAuditRows(
  q: Queryable,
  filter: AuditFilter,
  window: { skip: number; limit: number },
): Promise<AuditRow[]> {
  const { where, params } = auditFilters(filter);
  return q.page<AuditRow>(`${SELECT_ROW} ${where} ORDER BY l.log_id DESC`, params, window);
}

export async function countAuditRows(q: Queryable, filter: AuditFilter): Promise<number> {
  const { where, params } = auditFilters(filter);
  const sql = `SELECT COUNT(*) AS total FROM Logs l ${where}`;
  return (await q.first<{ total: number }>(sql, params))?.total ?? 0;
}

/** Rows of the epoch that are not sealed, after the row `after`. Reads the index in its order. */
export function listUnsealed(q: Queryable, epoch: number, after: number, limit: number) {
  const sql = `${SELECT_ROW} WHERE l.chain_epoch = @epoch AND l.chain_sequence IS NULL
    AND l.log_id > @after ORDER BY l.log_id`;
  return q.page<AuditRow>(sql, { epoch, after }, { skip: 0, limit });
}

/**
 * Sealed rows after the one of sequence `after`; after 0 all, with sequences that nobody gives. A
 * second row of the sequence `after` is among them.
 */
export function listSealed(q: Queryable, epoch: number, after: number, limit: number) {
  const from = after > 0 ? ">= @after" : "IS NOT NULL";
  const sql = `${SELECT_ROW} WHERE l.chain_epoch = @epoch AND l.chain_sequence ${from}
    ORDER BY l.chain_sequence, l.log_id`;
  return q.page<AuditRow>(sql, { epoch, after }, { skip: after > 0 ? 1 : 0, limit });
}

export async function sealRow(
  tx: Queryable,
  row: { logId: number; sequence: number; chainMac: string },
): Promise<void> {
  await tx.run(
    "UPDATE Logs SET chain_sequence = @sequence, chain_mac = @chainMac WHERE log_id = @logId",
    row,
  );
}

/** The rows that have no place in any chain: how many, and the newest. */
export async function findRowsOutside(q: Queryable) {
  const sql = "SELECT COUNT(*) AS total, MAX(log_id) AS newest FROM Logs WHERE chain_epoch IS NULL";
  return (
    (await q.first<{ total: number; newest: number | null }>(sql)) ?? { total: 0, newest: null }
  );
}

/** The first row of an epoch that has no head. */
export async function findRowWithoutHead(q: Queryable) {
  const [row] = await q.page<{ logId: number; epoch: number }>(
    `SELECT l.log_id AS logId, l.chain_epoch AS epoch FROM Logs l WHERE l.chain_epoch IS NOT NULL
       AND NOT EXISTS (SELECT 1 FROM Audit_Heads h WHERE h.epoch = l.chain_epoch)
     ORDER BY l.chain_epoch, l.log_id`,
    {},
    { skip: 0, limit: 1 },
  );
  return row;
}

/** The first row that has the mac of an older one. */
export async function findCopiedRow(q: Queryable) {
  const [row] = await q.page<{ logId: number; original: number }>(
    `SELECT MAX(log_id) AS logId, MIN(log_id) AS original FROM Logs WHERE chain_epoch IS NOT NULL
     GROUP BY row_mac HAVING COUNT(*) > 1 ORDER BY MAX(log_id)`,
    {},
    { skip: 0, limit: 1 },
  );
  return row;
}

export function listHeads(q: Queryable): Promise<AuditHead[]> {
  return q.all<AuditHead>(`${SELECT_HEAD} ORDER BY epoch`);
}

export function findHead(q: Queryable, epoch: number): Promise<AuditHead | undefined> {
  return q.first<AuditHead>(`${SELECT_HEAD} WHERE epoch = @epoch`, { epoch });
}

/** The head as `findHead`. Makes transactions that seal its epoch take turns. */
export async function lockHead(tx: Queryable, epoch: number): Promise<AuditHead | undefined> {
  await tx.run("UPDATE Audit_Heads SET length = length WHERE epoch = @epoch", { epoch });
  return findHead(tx, epoch);
}

/** Throws `UniqueViolation` when the epoch has begun already. */
export async function insertHead(q: Queryable, head: AuditHead): Promise<void> {
  await q.run(
    `INSERT INTO Audit_Heads (epoch, wrapped_key, length, last_mac, head_mac)
     VALUES (@epoch, @wrappedKey, @length, @lastMac, @headMac)`,
    { ...head },
  );
}

export async function updateHead(tx: Queryable, head: Omit<AuditHead, "wrappedKey">) {
  await tx.run(
    `UPDATE Audit_Heads SET length = @length, last_mac = @lastMac, head_mac = @headMac
     WHERE epoch = @epoch`,
    { ...head },
  );
}

export async function updateWrappedKey(q: Queryable, epoch: number, wrappedKey: string) {
  await q.run("UPDATE Audit_Heads SET wrapped_key = @wrappedKey WHERE epoch = @epoch", {
    epoch,
    wrappedKey,
  });
}
