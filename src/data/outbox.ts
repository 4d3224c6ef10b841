import type { Params, Queryable } from "./database.ts";

export interface NewOutboxMessage {
  doc_id: number | null;
  queue: string;
  message_id: string;
  body: string;
}

export interface OutboxMessage {
  outbox_id: number;
  queue: string;
  message_id: string;
  body: string;
  /** How often publishing it failed. */
  attempts: number;
}

/** Due: nobody holds it and its pause after a failure is over. `claimed_until` serves for both. */
const DUE = "(claimed_until IS NULL OR claimed_until <= @now)";

/** Notes a message to be sent if, and only if, the transaction commits. */
export async function addToOutbox(
  tx: Queryable,
  message: NewOutboxMessage,
  now: Date,
): Promise<void> {
  await tx.insert("Outbox", { ...message, created_at: now, attempts: 0 }, "outbox_id");
}

/** Takes back what has not been sent yet for a document. */
export async function removeFromOutboxByDocument(tx: Queryable, docId: number): Promise<void> {
  await tx.run("DELETE FROM Outbox WHERE doc_id = @doc_id", { doc_id: docId });
}

/**
 * Claims up to about `limit` due messages, oldest first, for `claimant` (a value never used before,
 * at most 36 characters) until `until`. Of several processes only one gets a message.
 */
export async function claimFromOutbox(
  q: Queryable,
  claim: { claimant: string; now: Date; until: Date; limit: number },
): Promise<OutboxMessage[]> {
  const due = await q.page<{ outbox_id: number }>(
    `SELECT outbox_id FROM Outbox WHERE ${DUE} ORDER BY outbox_id`,
    { now: claim.now },
    { skip: 0, limit: claim.limit },
  );
  const first = due.at(0)?.outbox_id;
  const last = due.at(-1)?.outbox_id;
  if (first === undefined || last === undefined) return [];
  const range: Params = { claimant: claim.claimant, first, last };
  const claimed = await q.run(
    `UPDATE Outbox SET claimed_by = @claimant, claimed_until = @until
     WHERE outbox_id >= @first AND outbox_id <= @last AND ${DUE}`,
    { ...range, now: claim.now, until: claim.until },
  );
  if (claimed === 0) return [];
  return q.all<OutboxMessage>(
    `SELECT outbox_id, queue, message_id, body, attempts FROM Outbox
     WHERE outbox_id >= @first AND outbox_id <= @last AND claimed_by = @claimant
     ORDER BY outbox_id`,
    range,
  );
}

/** Removes a message that the broker confirmed. */
export async function confirmOutboxMessage(q: Queryable, outboxId: number): Promise<void> {
  await q.run("DELETE FROM Outbox WHERE outbox_id = @outbox_id", { outbox_id: outboxId });
}

/** Gives back a message, due again at `due`; not when another process has claimed it since. */
export async function releaseOutboxMessage(
  q: Queryable,
  release: { outboxId: number; claimant: string; due: Date; error: string },
): Promise<void> {
  await q.run(
    `UPDATE Outbox SET claimed_by = NULL, claimed_until = @due,
       attempts = attempts + 1, last_error = @error
     WHERE outbox_id = @outbox_id AND claimed_by = @claimant`,
    {
      outbox_id: release.outboxId,
      claimant: release.claimant,
      due: release.due,
      error: release.error,
    },
  );
}
