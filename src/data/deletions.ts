import type { Queryable } from "./database.ts";

/** Of a blob, and with `docId` of that document's text. */
export interface Deletion {
  deletionId: number;
  docId: number | null;
  blobKey: string;
  /** Of the document's bytes, in hex; null where it is not known. */
  sha256: string | null;
}

/** To be carried out from `dueAt` on. */
export async function insertDeletion(
  q: Queryable,
  deletion: Omit<Deletion, "deletionId">,
  dueAt: Date,
): Promise<Deletion> {
  const deletionId = await q.insert("Deletions", { ...deletion, dueAt }, "deletion_id");
  return { ...deletion, deletionId };
}

/** The oldest ones after `afterId` that are due, at most `limit`. */
export function listDueDeletions(
  q: Queryable,
  { now, afterId, limit }: { now: Date; afterId: number; limit: number },
) {
  return q.page<Deletion>(
    `SELECT x.deletion_id AS deletionId, x.doc_id AS docId, x.blob_key AS blobKey,
       x.sha256 AS sha256
     FROM Deletions x WHERE x.deletion_id > @afterId AND x.due_at <= @now ORDER BY x.deletion_id`,
    { afterId, now },
    { skip: 0, limit },
  );
}

/** Takes a deletion back that is due after `instant`; false when it is due sooner, or gone. */
export async function cancelDeletion(tx: Queryable, deletionId: number, instant: Date) {
  const sql = "DELETE FROM Deletions WHERE deletion_id = @deletionId AND due_at > @instant";
  return (await tx.run(sql, { deletionId, instant })) === 1;
}

export function removeDeletion(q: Queryable, deletionId: number) {
  return q.run("DELETE FROM Deletions WHERE deletion_id = @deletionId", { deletionId });
}
