import type { Queryable, Window } from "./database.ts";
import { columns, inList } from "./filters.ts";

/** Of a blob, and with `docId` of that document's text. */
export interface Deletion {
  deletionId: number;
  docId: number | null;
  blobKey: string;
  /** Of the document's bytes, in hex; null where it is not known. */
  sha256: string | null;
}

/** How many deletions one statement puts off. */
const BATCH = 100;

/** To be carried out from `dueAt` on. */
export async function insertDeletion(
  q: Queryable,
  deletion: Omit<Deletion, "deletionId">,
  dueAt: Date,
): Promise<Deletion> {
  const deletionId = await q.insert("Deletions", { ...deletion, dueAt }, "deletion_id");
  return { ...deletion, deletionId };
}

/** The window of those that are due, the longest first. */
export function listDueDeletions(q: Queryable, now: Date, window: Window) {
  return q.page<Deletion>(
    `SELECT ${columns("x", "deletionId docId blobKey sha256")} FROM Deletions x
     WHERE x.due_at <= @now ORDER BY x.due_at, x.deletion_id`,
    { now },
    window,
  );
}

/** Puts off those that are not begun. */
export async function postponeDeletions(q: Queryable, ids: readonly number[], dueAt: Date) {
  const sql = "UPDATE Deletions SET due_at = @dueAt WHERE begun_at IS NULL AND deletion_id IN";
  for (let at = 0; at < ids.length; at += BATCH) {
    const { list, params } = inList(ids.slice(at, at + BATCH));
    await q.run(`${sql} ${list}`, { ...params, dueAt });
  }
}

/**
 * Begins one that is due, for the process that gets true; due again at `dueAt`, if that one dies.
 * From now on no commit takes it back.
 */
export async function beginDeletion(q: Queryable, deletionId: number, now: Date, dueAt: Date) {
  const sql = `UPDATE Deletions SET begun_at = @now, due_at = @dueAt
    WHERE deletion_id = @deletionId AND due_at <= @now`;
  return (await q.run(sql, { deletionId, now, dueAt })) === 1;
}

/** Takes a deletion back; false when it is begun, or gone. */
export async function cancelDeletion(tx: Queryable, deletionId: number): Promise<boolean> {
  const sql = "DELETE FROM Deletions WHERE deletion_id = @deletionId AND begun_at IS NULL";
  return (await tx.run(sql, { deletionId })) === 1;
}

export function removeDeletion(q: Queryable, deletionId: number) {
  return q.run("DELETE FROM Deletions WHERE deletion_id = @deletionId", { deletionId });
}

/** Whether a deletion or a document names the blob. */
export async function isNamed(q: Queryable, blobKey: string): Promise<boolean> {
  // In this order: a commit puts the document in the place of its upload's deletion.
  for (const table of ["Deletions", "Documents"])
    if (await q.first(`SELECT x.blob_key FROM ${table} x WHERE x.blob_key = @blobKey`, { blobKey }))
      return true;
  return false;
}
