import type { Params, Queryable } from "./database.ts";
import { columns } from "./filters.ts";

export const OCR_STAGE = "OCR";

export const PROCESSING_STATUSES = ["Queued", "Processing", "Finished", "Failed"] as const;
export type ProcessingStatus = (typeof PROCESSING_STATUSES)[number];

export interface StageState {
  status: ProcessingStatus;
  startTime: Date | null;
  endTime: Date | null;
  errorMessage: string | null;
  /** How far a worker is that tells it, else null. */
  pagesDone: number | null;
  pagesTotal: number | null;
}

/** Of a stage `s`; with its status and error they are a `StageState`. */
export const STAGE_TIMES = columns("s", "startTime endTime pagesDone pagesTotal");

/** Oldest first. */
export function listStages(q: Queryable, docId: number) {
  return q.all<StageState & { stageName: string }>(
    `SELECT ${columns("s", "stageName status errorMessage")}, ${STAGE_TIMES}
     FROM Processing_Status s WHERE s.doc_id = @docId ORDER BY s.status_id`,
    { docId },
  );
}

export function insertStage(tx: Queryable, docId: number, stage: string, queuedAt: Date) {
  return tx.defer(
    `INSERT INTO Processing_Status (doc_id, stage_name, status, start_time)
     VALUES (@docId, @stage, 'Queued', @queuedAt)`,
    { docId, stage, queuedAt },
  );
}

/** Queues the `stages` of a locked document; each has exactly one row afterwards. */
export async function requeueStages(
  tx: Queryable,
  docId: number,
  stages: readonly string[],
  queuedAt: Date,
): Promise<void> {
  const newest = `(SELECT MAX(x.status_id) FROM Processing_Status x
    WHERE x.doc_id = @docId AND x.stage_name = @stage)`;
  for (const stage of stages) {
    // Not replaced: a table of the platform may reference the row.
    const requeue = `UPDATE Processing_Status SET status = 'Queued', start_time = @queuedAt,
      end_time = NULL, error_message = NULL, pages_done = NULL, pages_total = NULL
      WHERE status_id = ${newest}`;
    const isThere = (await tx.run(requeue, { docId, stage, queuedAt })) === 1;
    if (!isThere) await insertStage(tx, docId, stage, queuedAt);
    const removeOlder = `DELETE FROM Processing_Status
      WHERE doc_id = @docId AND stage_name = @stage AND status_id < ${newest}`;
    await tx.defer(removeOlder, { docId, stage });
  }
}

/** What a worker measured. Confidences are from 0 to 1, costs in USD. */
export interface OcrResult {
  page_count: number;
  word_count: number;
  avg_confidence: number;
  primary_language: string;
  category: string | null;
  classification_confidence: number | null;
  cost_usd_ocr: number;
  cost_usd_classification: number | null;
  processed_at: Date;
}

/** The newest one: a worker inserts a row each time. */
export function findOcrResult(q: Queryable, docId: number) {
  return q.first<OcrResult>(
    `SELECT page_count, word_count, avg_confidence, primary_language, category,
       classification_confidence, cost_usd_ocr, cost_usd_classification, processed_at
     FROM Ocr_Results WHERE result_id =
       (SELECT MAX(x.result_id) FROM Ocr_Results x WHERE x.doc_id = @docId)`,
    { docId },
  );
}

type Measured = Pick<
  OcrResult,
  "page_count" | "word_count" | "avg_confidence" | "primary_language"
>;

/** The newest row of the stage counts; a database of the reference system may have several. */
const NEWEST = `status_id = (SELECT MAX(x.status_id) FROM Processing_Status x
  WHERE x.doc_id = @docId AND x.stage_name = '${OCR_STAGE}')`;

const UNFINISHED = "status IN ('Queued', 'Processing')";
const PROCESSING = "status = 'Processing'";

/** Sets columns of the stage if it is in one of these states; resolves with 0 if it is not. */
const update = (q: Queryable, set: string, state: string, params: Params & { docId: number }) =>
  q.run(`UPDATE Processing_Status SET ${set} WHERE ${NEWEST} AND ${state}`, params);

/**
 * Notes that a worker has begun; false when the document was finished, failed or deleted before.
 * A stage without a row gets one.
 */
export async function startProcessing(q: Queryable, docId: number, now: Date): Promise<boolean> {
  const begin = `status = 'Processing', start_time = @now, end_time = NULL, error_message = NULL,
    pages_done = NULL, pages_total = NULL`;
  const insert = `INSERT INTO Processing_Status (doc_id, stage_name, status, start_time)
    SELECT d.doc_id, '${OCR_STAGE}', 'Processing', @now FROM Documents d
    WHERE d.doc_id = @docId AND NOT EXISTS (SELECT 1 FROM Processing_Status s
      WHERE s.doc_id = d.doc_id AND s.stage_name = '${OCR_STAGE}')`;
  const params = { docId, now };
  return (await update(q, begin, UNFINISHED, params)) === 1 || (await q.run(insert, params)) === 1;
}

/** How many of a document's pages are done; resolves with 0 unless it is being processed. */
export function noteProgress(q: Queryable, docId: number, done: number, total: number) {
  return update(q, "pages_done = @done, pages_total = @total", PROCESSING, { docId, done, total });
}

/** False when the document is not being processed any more. */
export async function finishProcessing(tx: Queryable, docId: number, now: Date): Promise<boolean> {
  const set = "status = 'Finished', end_time = @now, error_message = NULL";
  return (await update(tx, set, PROCESSING, { docId, now })) === 1;
}

/** `message` tells a person what to do. False when the document is finished, failed or deleted. */
export async function failProcessing(
  q: Queryable,
  docId: number,
  { message, now }: { message: string; now: Date },
): Promise<boolean> {
  const set = "status = 'Failed', end_time = @now, error_message = @message";
  return (await update(q, set, UNFINISHED, { docId, message, now })) === 1;
}

/** `textId` is the text's id in the content store. False when the document is deleted. */
export async function updateTextId(
  tx: Queryable,
  docId: number,
  textId: string,
  now: Date,
): Promise<boolean> {
  const sql =
    "UPDATE Documents SET mongo_doc_id = @textId, updated_at = @now WHERE doc_id = @docId";
  return (await tx.run(sql, { docId, textId, now })) === 1;
}

/** What reading a document gave; it cost nothing. */
export function insertOcrResult(
  tx: Queryable,
  docId: number,
  { page_count, word_count, avg_confidence, primary_language }: Measured,
  now: Date,
) {
  // Parameters hold no fractions.
  const confidence = String(avg_confidence);
  return tx.run(
    `INSERT INTO Ocr_Results (doc_id, page_count, word_count, avg_confidence, primary_language,
       cost_usd_ocr, processed_at)
     VALUES (@docId, @page_count, @word_count, CAST(@confidence AS FLOAT), @primary_language, 0,
       @now)`,
    { docId, page_count, word_count, confidence, primary_language, now },
  );
}
