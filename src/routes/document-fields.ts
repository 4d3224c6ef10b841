import type { ExtractedText } from "../content/content-store.ts";
import {
  type Document,
  type ListedDocument,
  OCR_STAGE,
  type StageState,
} from "../data/documents.ts";

/** A document in a list. */
export function listItem(document: ListedDocument) {
  return {
    doc_id: document.docId,
    filename: document.filename,
    path: document.path,
    uploaded_by_user_id: document.uploadedByUserId,
    uploaded_by: document.uploadedBy,
    uploaded_at: document.uploadedAt,
    status: document.status,
    error_message: document.errorMessage,
    size: document.fileSize,
    content_type: document.contentType,
  };
}

/** A stage of its processing, with the pages while a worker tells them. */
export function stageFields(stageName: string, state: StageState) {
  const isProcessing = state.status === "Processing";
  return {
    stage_name: stageName,
    status: state.status,
    start_time: state.startTime,
    end_time: state.endTime,
    error_message: state.errorMessage,
    pages_done: isProcessing ? state.pagesDone : null,
    pages_total: isProcessing ? state.pagesTotal : null,
  };
}

/** What clients poll. */
export function statusFields(document: Document) {
  const { docId: doc_id, filename } = document;
  return { doc_id, filename, ...stageFields(OCR_STAGE, document) };
}

/** A worker of the platform may write more or less than this server does. */
type Loose<Part> = { readonly [Key in keyof Part]?: Part[Key] | null };

const OCR_FIELDS = [
  "page_count",
  "word_count",
  "avg_confidence",
  "primary_language",
  "elapsed_seconds",
  "cost_usd",
  "chunks_used",
];
const CLASSIFICATION_FIELDS = [
  "category",
  "confidence",
  "reasoning",
  "tokens_used",
  "cost_usd",
  "error",
];

/** The text of a document, with null for what its worker did not write. */
export function textFields({ docId, filename }: Document, text: Loose<ExtractedText>) {
  return {
    doc_id: docId,
    filename,
    file_type: text.file_type ?? null,
    extracted_text: text.extracted_text ?? null,
    ocr: pick(text.ocr, OCR_FIELDS),
    classification: text.classification ? pick(text.classification, CLASSIFICATION_FIELDS) : null,
    processed_at: text.processed_at ?? null,
  };
}

function pick(from: object | null | undefined, names: readonly string[]) {
  const values = new Map(Object.entries(from ?? {}));
  return Object.fromEntries(names.map((name) => [name, values.get(name) ?? null]));
}
