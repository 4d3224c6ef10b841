import type { Queryable } from "./database.ts";
import { OCR_STAGE } from "./documents.ts";

/** The newest row of the stage counts; a database of the reference system may have several. */
const NEWEST = `status_id = (SELECT MAX(x.status_id) FROM Processing_Status x
  WHERE x.doc_id = @docId AND x.stage_name = '${OCR_STAGE}')`;

/**
 * Notes that a worker has begun; false when the document was finished, failed or deleted before.
 * A stage without a row gets one.
 */
export async function startProcessing(tx: Queryable, docId: number, now: Date): Promise<boolean> {
  const touched = await tx.run(
    `UPDATE Processing_Status SET status = 'Processing', start_time = @now, end_time = NULL,
       error_message = NULL, pages_done = NULL, pages_total = NULL
     WHERE ${NEWEST} AND status IN ('Queued', 'Processing')`,
    { docId, now },
  );
  if (touched === 1) return true;
  return (
    (await tx.run(
      `INSERT INTO Processing_Status (doc_id, stage_name, status, start_time)
       SELECT d.doc_id, '${OCR_STAGE}', 'Processing', @now FROM Documents d
       WHERE d.doc_id = @docId AND NOT EXISTS (SELECT 1 FROM Processing_Status s
         WHERE s.doc_id = d.doc_id AND s.stage_name = '${OCR_STAGE}')`,
      { docId, now },
    )) === 1
  );
}

/** How many of a document's pages are done; without effect unless it is being processed. */
export function noteProgress(q: Queryable, docId: number, done: number, total: number) {
  return q.run(
    `UPDATE Processing_Status SET pages_done = @done, pages_total = @total
     WHERE ${NEWEST} AND status = 'Processing'`,
    { docId, done, total },
  );
}

/** False when the document is not being processed any more. */
export async function finishProcessing(tx: Queryable, docId: number, now: Date): Promise<boolean> {
  const sql = `UPDATE Processing_Status SET status = 'Finished', end_time = @now,
    error_message = NULL WHERE ${NEWEST} AND status = 'Processing'`;
  return (await tx.run(sql, { docId, now })) === 1;
}

/** `message` tells a person what to do. False when the document is finished, failed or deleted. */
export async function failProcessing(
  q: Queryable,
  docId: number,
  { message, now }: { message: string; now: Date },
): Promise<boolean> {
  const sql = `UPDATE Processing_Status SET status = 'Failed', end_time = @now,
    error_message = @message WHERE ${NEWEST} AND status IN ('Queued', 'Processing')`;
  return (await q.run(sql, { docId, message, now })) === 1;
}

/** `textId` is the text's id in the content store. */
export function updateTextId(tx: Queryable, docId: number, textId: string, now: Date) {
  const sql =
    "UPDATE Documents SET mongo_doc_id = @textId, updated_at = @now WHERE doc_id = @docId";
  return tx.run(sql, { docId, textId, now });
}

/** What reading a document gave; it cost nothing. `confidence` is from 0 to 1. */
export function insertOcrResult(
  tx: Queryable,
  docId: number,
  result: { pageCount: number; wordCount: number; confidence: number; language: string },
  now: Date,
) {
  const { pageCount, wordCount, language } = result;
  // Parameters hold no fractions.
  const confidence = String(result.confidence);
  return tx.run(
    `INSERT INTO Ocr_Results (doc_id, page_count, word_count, avg_confidence, primary_language,
       cost_usd_ocr, processed_at)
     VALUES (@docId, @pageCount, @wordCount, CAST(@confidence AS FLOAT), @language, 0, @now)`,
    { docId, pageCount, wordCount, confidence, language, now },
  );
}
