import { type Database, escapeLike, type Queryable, sameText, type Window } from "./database.ts";
import { columns, filters, inList } from "./filters.ts";
import {
  insertStage,
  OCR_STAGE,
  type ProcessingStatus,
  STAGE_TIMES,
  type StageState,
} from "./processing.ts";

/** What a list shows of a document, with the latest state of its stage `OCR`. */
export interface ListedDocument extends Pick<StageState, "status" | "errorMessage"> {
  docId: number;
  filename: string;
  /** The canonical virtual path. */
  path: string;
  uploadedByUserId: number;
  /** Their full name. */
  uploadedBy: string;
  uploadedAt: Date;
  fileSize: number | null;
  contentType: string | null;
}

export interface Document extends ListedDocument, StageState {
  description: string | null;
  sha256: string | null;
  /** Null for documents that the reference system stored, whose blob is `path/filename`. */
  blobKey: string | null;
  /** The text's id in its store, or `pending`. */
  mongoDocId: string;
}

const OF_STAGE = `x.stage_name = '${OCR_STAGE}'`;
const NAMES = "docId filename uploadedByUserId uploadedAt fileSize contentType";
const LISTED = `${columns("d", NAMES)}, p.full_path AS path, u.full_name AS uploadedBy,
  COALESCE(s.status, 'Queued') AS status, s.error_message AS errorMessage`;
const JOINS = `LEFT JOIN Virtual_Paths p ON p.path_id = d.path_id
  LEFT JOIN Users u ON u.user_id = d.uploaded_by_user_id
  LEFT JOIN Processing_Status s ON s.status_id =
    (SELECT MAX(x.status_id) FROM Processing_Status x WHERE x.doc_id = d.doc_id AND ${OF_STAGE})`;
const SELECT_DOCUMENT = `SELECT ${LISTED}, ${STAGE_TIMES},
  ${columns("d", "description sha256 blobKey mongoDocId")}
  FROM Documents d ${JOINS}`;

export function findDocument(q: Queryable, docId: number) {
  return q.first<Document>(`${SELECT_DOCUMENT} WHERE d.doc_id = @docId`, { docId });
}

/** The first ones after `afterId`, oldest first. */
export function listDocumentsAfter(q: Queryable, afterId: number, limit: number) {
  const sql = `${SELECT_DOCUMENT} WHERE d.doc_id > @afterId ORDER BY d.doc_id`;
  return q.page<Document>(sql, { afterId }, { skip: 0, limit });
}

/** In no order; `ids` are few. */
export function listDocumentsByIds(q: Queryable, ids: readonly number[]): Promise<Document[]> {
  if (ids.length === 0) return Promise.resolve([]);
  const { list, params } = inList(ids);
  return q.all(`${SELECT_DOCUMENT} WHERE d.doc_id IN ${list}`, params);
}

export interface DocumentFilter {
  userId?: number | undefined;
  status?: ProcessingStatus | undefined;
  path?: string | undefined;
  /** Also in the paths below it. */
  recursive?: boolean | undefined;
  /** Part of the file name, literally. */
  q?: string | undefined;
}

const PATH_NAMED = "SELECT v.path_id FROM Virtual_Paths v WHERE v.full_path = @path";
const PATHS_BELOW = `${PATH_NAMED} OR v.full_path LIKE @below ESCAPE '\\'`;
const JOIN_DOCUMENT = "JOIN Documents d ON d.doc_id = f.doc_id";
/** The newest row of the stage counts. */
const HAS_STATUS = `f.stage_name = '${OCR_STAGE}' AND f.status = CAST(@status AS VARCHAR(20))
  AND NOT EXISTS (SELECT 1 FROM Processing_Status x
    WHERE x.doc_id = f.doc_id AND ${OF_STAGE} AND x.status_id > f.status_id)`;
const EXISTS_STATUS = `EXISTS (SELECT 1 FROM Processing_Status f
  WHERE f.doc_id = d.doc_id AND ${HAS_STATUS})`;

/**
 * Newest first: by id, because DATETIME columns round to 3.33 ms. A document without a row of its
 * stage, which only a foreign writer makes, is shown as queued but not found by that status.
 */
export function listDocuments(database: Database, filter: DocumentFilter, window: Window) {
  const { userId, status, q, recursive } = filter;
  // Below the root is everything.
  const path = recursive && filter.path === "/" ? undefined : filter.path;
  const below = `${escapeLike(path ?? "")}/%`;
  const pattern = q === undefined ? undefined : `%${escapeLike(q)}%`;
  const named = [status, userId, path, q].filter((value) => value !== undefined).length;
  // Alone, a status finds its documents by its own index.
  const byStatus = named === 1 && status !== undefined;
  const { where, params } = filters(
    { userId, path, pattern, status },
    {
      userId: "d.uploaded_by_user_id = @userId",
      path: recursive ? `d.path_id IN (${PATHS_BELOW})` : `d.path_id = (${PATH_NAMED})`,
      pattern: "d.filename LIKE @pattern ESCAPE '\\'",
      status: byStatus ? HAS_STATUS : EXISTS_STATUS,
    },
  );
  const list = {
    columns: LISTED,
    from: byStatus ? "Processing_Status f" : "Documents d",
    joins: byStatus ? `${JOIN_DOCUMENT} ${JOINS}` : JOINS,
    where,
    key: byStatus ? "f.doc_id" : "d.doc_id",
    isIndexed: named < 2 && q === undefined && !(recursive && path),
    part: q === undefined ? undefined : { text: q, index: "Document_Names" },
  };
  return database.list<ListedDocument>(list, { ...params, below }, window);
}

/** Whether the path, or the user, has a document. */
export async function hasDocuments(
  q: Queryable,
  column: "path_id" | "uploaded_by_user_id",
  id: number,
) {
  const sql = `SELECT d.doc_id FROM Documents d WHERE d.${column} = @id ORDER BY d.doc_id`;
  return (await q.page(sql, { id }, { skip: 0, limit: 1 })).length > 0;
}

/** A path of this name, compared as in `findPathByName`, and its document of that name, if any. */
export async function findPlace(q: Queryable, filename: string, fullPath: string) {
  const sql = `SELECT p.path_id AS pathId, p.full_path AS fullPath, d.doc_id AS takenBy
    FROM Virtual_Paths p
    LEFT JOIN Documents d ON d.path_id = p.path_id AND d.filename = @filename
    WHERE p.full_path = @fullPath`;
  type Place = { pathId: number; fullPath: string; takenBy: number | null };
  const place = await q.first<Place>(sql, { filename, fullPath });
  return place && sameText(place.fullPath, fullPath) ? place : undefined;
}

export async function documentHasBytes(q: Queryable, filename: string, sha256: string) {
  const sql = "SELECT doc_id FROM Documents WHERE filename = @filename AND sha256 = @sha256";
  return (await q.first(sql, { filename, sha256 })) !== undefined;
}

type NewDocument = Omit<
  Document,
  "docId" | "path" | "uploadedBy" | "mongoDocId" | keyof StageState
> & {
  pathId: number;
  fileType: string | null;
};

/** With its `stages`, queued; returns its id. `UniqueViolation` when name and path are taken. */
export async function insertDocument(
  tx: Queryable,
  document: NewDocument,
  stages: readonly string[],
): Promise<number> {
  const { uploadedAt } = document;
  const row = { ...document, mongoDocId: "pending", updatedAt: uploadedAt };
  const docId = await tx.insert("Documents", row, "doc_id");
  for (const stage of stages) await insertStage(tx, docId, stage, uploadedAt);
  return docId;
}

/** Others that lock the document wait for the end of this transaction. */
export async function lockDocument(tx: Queryable, docId: number): Promise<void> {
  await tx.defer("UPDATE Documents SET updated_at = updated_at WHERE doc_id = @docId", { docId });
}

/** Keeps where the blobs without a key are, before their path, not the root, is renamed. */
export function keepBlobKeys(tx: Queryable, pathId: number, fullPath: string) {
  return tx.run(
    `UPDATE Documents SET blob_key = CONCAT(@folder, filename)
     WHERE path_id = @pathId AND blob_key IS NULL`,
    { pathId, folder: `${fullPath}/` },
  );
}

/** Follows a blob that was moved; false when the document has another key by now, or is gone. */
export async function updateBlobKey(tx: Queryable, docId: number, from: string, to: string) {
  const sql = "UPDATE Documents SET blob_key = @to WHERE doc_id = @docId AND blob_key = @from";
  return (await tx.run(sql, { docId, from, to })) === 1;
}

/**
 * Also what the known tables hold of it. Throws `ForeignKeyViolation`, at the latest at the end of
 * the transaction, while other rows reference it.
 */
export async function deleteDocument(tx: Queryable, docId: number): Promise<void> {
  const tables = ["Processing_Status", "Ocr_Results", "Outbox", "Documents"];
  // The platform's own, not in every database.
  if ((await tx.columns("Rag_Ingest")).size > 0) tables.unshift("Rag_Ingest");
  for (const table of tables)
    await tx.defer(`DELETE FROM ${table} WHERE doc_id = @docId`, { docId });
}
