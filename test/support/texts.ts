import type { ExtractedText } from "../../src/content/content-store.ts";

/** What a worker made of one page of English. */
export function textOf(docId: number, changes: Partial<ExtractedText> = {}): ExtractedText {
  return {
    doc_id: docId,
    filename: "a.pdf",
    file_type: "pdf",
    blob_path: "a.pdf",
    extracted_text: "text",
    ocr: {
      page_count: 1,
      word_count: 1,
      avg_confidence: 1,
      primary_language: "en",
      elapsed_seconds: 1,
    },
    classification: null,
    processed_at: new Date(0),
    ...changes,
  };
}
