import { escapeLike, type Params, type Queryable } from "./database.ts";
import { filters } from "./filters.ts";

/** The stage whose state lists and status answers show. */
export const OCR_STAGE = "OCR";

export const PROCESSING_STATUSES = ["Queued", "Processing", "Finished", "Failed"] as const;
export type ProcessingStatus = (typeof PROCESSING_STATUSES)[number];

/** A document as it is stored, with its path and the latest state of its OCR stage. */
export interface Document {
  docId: number;
  filename: string;
  /** The canonical virtual path. */
  path: string;
  uploadedByUserId: number;
  uploadedAt: Date;
  updatedAt: Date | null;
  mongoDocId: string;
  fileSize: number | null;
  contentType: string | null;
  fileType: string | null;
  description: string | null;
  sha256: string | null;
  /** Null for documents that the reference system stored, whose blob is `path/filename`. */
  blobKey: string | null;
  status: ProcessingStatus;
  startTime: Date | null;
  endTime: Date | null;
  errorMessage: string | null;
}

/** One row of `Processing_Status`. */
export interface Stage {
  stageName: string;
  status: ProcessingStatus;
  startTime: Date | null;
  endTime: Date | null;
  errorMessage: string | null;
}

const FROM_DOCUMENTS = `FROM Documents d
  JOIN Virtual_Paths p ON p.path_id = d.path_id
  LEFT JOIN Processing_Status s ON s.status_id =
    (SELECT MAX(x.status_id) FROM Processing_Status x WHERE x.doc_id = d.doc_id AND x.stage_name = '${OCR_STAGE}')`;
const SELECT_DOCUMENT = `SELECT d.doc_id AS docId, d.filename AS filename, p.full_path AS path,
  d.uploaded_by_user_id AS uploadedByUserId, d.uploaded_at AS uploadedAt, d.updated_at AS updatedAt,
  d.mongo_doc_id AS mongoDocId, d.file_size AS fileSize, d.content_type AS contentType, d.file_type AS fileType,
  d.description AS description, d.sha256 AS sha256, d.blob_key AS blobKey,
  COALESCE(s.status, 'Queued') AS status, s.start_time AS startTime, s.end_time AS endTime,
  s.error_message AS errorMessage ${FROM_DOCUMENTS}`;

export function findDocument(q: Queryable, docId: number): Promise<Document | undefined> {
  return q.first<Document>(`${SELECT_DOCUMENT} WHERE d.doc_id = @docId`, { docId });
}

export async function documentNameTaken(
  q: Queryable,
  filename: string,
  pathId: number,
): Promise<boolean> {
  const row = await q.first(
    "SELECT d.doc_id AS docId FROM Documents d WHERE d.filename = @filename AND d.path_id = @pathId",
    { filename, pathId },
  );
  return row !== undefined;
}

export interface DocumentFilter {
  userId?: number | undefined;
  status?: ProcessingStatus | undefined;
  /** Canonical virtual path. */
  path?: string | undefined;
  /** Part of the file name, literally. */
  q?: string | undefined;
}

function documentFilters(filter: DocumentFilter): { where: string; params: Params } {
  return filters([
    ["d.uploaded_by_user_id = @userId", "userId", filter.userId],
    ["COALESCE(s.status, 'Queued') = @status", "status", filter.status],
    ["p.full_path = @path", "path", filter.path],
    [
      "d.filename LIKE @pattern ESCAPE '\\'",
      "pattern",
      filter.q === undefined ? undefined : `%${escapeLike(filter.q)}%`,
    ],
  ]);
}

/** Newest first: by id, because the old DATETIME columns round to 3.33 ms. */
export function listDocuments(
  q: Queryable,
  filter: DocumentFilter,
  window: { skip: number; limit: number },
): Promise<Document[]> {
  const { where, params } = documentFilters(filter);
  return q.page<Document>(`${SELECT_DOCUMENT} ${where} ORDER BY d.doc_id DESC`, params, window);
}

export async function countDocuments(q: Queryable, filter: DocumentFilter): Promise<number> {
  const { where, params } = documentFilters(filter);
  const row = await q.first<{ total: number }>(
    `SELECT COUNT(*) AS total ${FROM_DOCUMENTS} ${where}`,
    params,
  );
  return row?.total ?? 0;
}

/** Every stage of a document, oldest first. */
export function listStages(q: Queryable, docId: number): Promise<Stage[]> {
  return q.all<Stage>(
    `SELECT s.stage_name AS stageName, s.status AS status, s.start_time AS startTime, s.end_time AS endTime,
     s.error_message AS errorMessage FROM Processing_Status s WHERE s.doc_id = @docId ORDER BY s.status_id`,
    { docId },
  );
}

/** What a worker measured: one row of `Ocr_Results`. Confidences are from 0 to 1, costs in USD. */
export interface OcrResult {
  pageCount: number;
  wordCount: number;
  avgConfidence: number;
  primaryLanguage: string;
  category: string | null;
  classificationConfidence: number | null;
  ocrCost: number;
  classificationCost: number | null;
  processedAt: Date;
}

/** The newest one: a worker inserts a row each time it processes the document. */
export function findOcrResult(q: Queryable, docId: number): Promise<OcrResult | undefined> {
  return q.first<OcrResult>(
    `SELECT r.page_count AS pageCount, r.word_count AS wordCount, r.avg_confidence AS avgConfidence,
       r.primary_language AS primaryLanguage, r.category AS category,
       r.classification_confidence AS classificationConfidence, r.cost_usd_ocr AS ocrCost,
       r.cost_usd_classification AS classificationCost, r.processed_at AS processedAt
     FROM Ocr_Results r
     WHERE r.result_id = (SELECT MAX(x.result_id) FROM Ocr_Results x WHERE x.doc_id = @docId)`,
    { docId },
  );
}

export interface NewDocument {
  filename: string;
  pathId: number;
  uploadedByUserId: number;
  uploadedAt: Date;
  fileSize: number;
  contentType: string;
  fileType: string | null;
  description: string | null;
  sha256: string;
  blobKey: string;
}

/**
 * Inserts the document and `stages`, each queued at the time of the upload; returns the document's
 * id. Throws `UniqueViolation` when name and path are taken.
 */
export async function insertDocument(
  tx: Queryable,
  document: NewDocument,
  stages: readonly string[],
): Promise<number> {
  const docId = await tx.insert(
    "Documents",
    {
      filename: document.filename,
      path_id: document.pathId,
      uploaded_by_user_id: document.uploadedByUserId,
      mongo_doc_id: "pending",
      uploaded_at: document.uploadedAt,
      updated_at: document.uploadedAt,
      file_size: document.fileSize,
      content_type: document.contentType,
      file_type: document.fileType,
      description: document.description,
      sha256: document.sha256,
      blob_key: document.blobKey,
    },
    "doc_id",
  );
  for (const stage of stages) {
    const row = {
      doc_id: docId,
      stage_name: stage,
      status: "Queued",
      start_time: document.uploadedAt,
      end_time: null,
      error_message: null,
    };
    await tx.insert("Processing_Status", row, "status_id");
  }
  return docId;
}

/**
 * Writes down where the blobs of a path's documents are that have no key, because the path is about to change: in the folder
 * `fullPath`, which is not the root.
 */
export async function keepBlobKeys(tx: Queryable, pathId: number, fullPath: string): Promise<void> {
  await tx.run(
    `UPDATE Documents SET blob_key = CONCAT(@folder, filename) WHERE path_id = @pathId AND blob_key IS NULL`,
    { pathId, folder: `${fullPath}/` },
  );
}

/** Follows a blob that was moved; false when the document has another key by now, or is gone. */
export async function updateBlobKey(
  tx: Queryable,
  docId: number,
  from: string,
  to: string,
): Promise<boolean> {
  const changed = await tx.run(
    "UPDATE Documents SET blob_key = @to WHERE doc_id = @docId AND blob_key = @from",
    { docId, from, to },
  );
  return changed === 1;
}

/** Whether there is a document of this name with these bytes. `sha256` in hex. */
export async function documentHasBytes(
  q: Queryable,
  filename: string,
  sha256: string,
): Promise<boolean> {
  const row = await q.first(
    "SELECT d.doc_id AS docId FROM Documents d WHERE d.filename = @filename AND d.sha256 = @sha256",
    { filename, sha256 },
  );
  return row !== undefined;
}

/**
 * Deletes the document's rows in every table that is known to have some; what is waiting in the
 * outbox for it is the caller's to remove. False when another transaction has deleted it since it
 * was read. Throws `ForeignKeyViolation` while other rows reference it.
 */
export async function deleteDocument(tx: Queryable, docId: number): Promise<boolean> {
  const tables = ["Processing_Status", "Ocr_Results"];
  // The platform's own, not in every database.
  if ((await tx.columns("Rag_Ingest")).size > 0) tables.push("Rag_Ingest");
  for (const table of tables) await tx.run(`DELETE FROM ${table} WHERE doc_id = @docId`, { docId });
  return (await tx.run("DELETE FROM Documents WHERE doc_id = @docId", { docId })) === 1;
}
