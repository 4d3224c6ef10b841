import type { Queryable } from "./database.ts";

export interface OutboxMessage {
  outbox_id: number;
  queue: string;
  message_id: string;
  body: string;
  /** How often publishing it failed. */
  attempts: number;
}

/** Nobody holds it, and its pause after a failure is over. */
const DUE = "(claimed_until IS NULL OR claimed_until <= @now)";

type NewMessage = Omit<OutboxMessage, "outbox_id" | "attempts"> & { doc_id: number | null };

export function addToOutbox(tx: Queryable, message: NewMessage, now: Date) {
  return tx.defer(
    `INSERT INTO Outbox (doc_id, queue, message_id, body, created_at)
     VALUES (@doc_id, @queue, @message_id, @body, @now)`,
    { ...message, now },
  );
}

export function removeFromOutboxByDocument(tx: Queryable, docId: number) {
  return tx.defer("DELETE FROM Outbox WHERE doc_id = @docId", { docId });
}

/**
 * Claims up to about `limit` due messages, oldest first, for `claimant` (a value never used before,
 * at most 36 characters) until `until`. Of several processes only one gets a message.
 */
export async function claimFromOutbox(
  q: Queryable,
  claim: { claimant: string; now: Date; until: Date; limit: number },
): Promise<OutboxMessage[]> {
  const { claimant, now, until, limit } = claim;
  const sql = `SELECT outbox_id AS id FROM Outbox WHERE ${DUE} ORDER BY outbox_id`;
  const due = await q.page<{ id: number }>(sql, { now }, { skip: 0, limit });
  const [first, last] = [due.at(0), due.at(-1)];
  if (!first || !last) return [];
  const range = { first: first.id, last: last.id };
  await q.run(
    `UPDATE Outbox SET claimed_by = @claimant, claimed_until = @until
     WHERE outbox_id >= @first AND outbox_id <= @last AND ${DUE}`,
    { ...range, claimant, now, until },
  );
  return q.all(
    `SELECT outbox_id, queue, message_id, body, attempts FROM Outbox
     WHERE outbox_id >= @first AND outbox_id <= @last AND claimed_by = @claimant
     ORDER BY outbox_id`,
    { ...range, claimant },
  );
}

/** How many messages are there, and since when; undefined when none is. */
export function findBacklog(q: Queryable) {
  return q.first<{ oldest: Date; total: number }>(
    `SELECT x.created_at AS oldest, (SELECT COUNT(*) FROM Outbox) AS total FROM Outbox x
     WHERE x.outbox_id = (SELECT MIN(y.outbox_id) FROM Outbox y)`,
  );
}

export function confirmOutboxMessage(q: Queryable, outboxId: number) {
  return q.run("DELETE FROM Outbox WHERE outbox_id = @outboxId", { outboxId });
}

/** Gives back a message, due again at `due`, unless another process has claimed it since. */
export function releaseOutboxMessage(
  q: Queryable,
  release: { outboxId: number; claimant: string; due: Date; error: string },
) {
  return q.run(
    `UPDATE Outbox SET claimed_by = NULL, claimed_until = @due,
       attempts = attempts + 1, last_error = @error
     WHERE outbox_id = @outboxId AND claimed_by = @claimant`,
    { ...release },
  );
}
