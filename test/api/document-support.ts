import type { ExtractedText } from "../../src/content/content-store.ts";
import type { CallOptions, TestApp } from "../support/app.ts";
import { play } from "./scenarios.ts";

/** A new document; its name is the only one, and begins with `name`. */
export async function upload(app: TestApp, name = "letter", as: CallOptions["as"] = "user") {
  const filename = `${name}-${Math.random().toString(36).slice(2)}.txt`;
  const at = "POST /api/v1/docs/upload";
  const multipart = [{ name: "file", filename, data: `the bytes of ${filename}` }];
  const { body } = await play(app, { title: filename, at, as, multipart, status: 201 });
  return body as { doc_id: number; filename: string; path: string; sha256: string };
}

/** What a worker writes into a stage's rows. */
export async function setStage(
  app: TestApp,
  docId: number,
  status: string,
  more: { stage?: string; error?: string; done?: number; total?: number } = {},
): Promise<void> {
  const { stage = "OCR", error = null, done = null, total = null } = more;
  await app.app.database.run(
    `UPDATE Processing_Status SET status = @status, end_time = @at, error_message = @error,
       pages_done = @done, pages_total = @total WHERE doc_id = @docId AND stage_name = @stage`,
    { docId, stage, status, error, done, total, at: new Date("2026-02-26T14:30:00.120Z") },
  );
}

/** A text as the worker of this server writes it. */
export function textOf(docId: number, text: string, more: Partial<ExtractedText> = {}) {
  return {
    doc_id: docId,
    filename: "an older name.txt",
    file_type: "txt",
    blob_path: "where/it is.txt",
    extracted_text: text,
    ocr: {
      page_count: 1,
      word_count: text.split(/\s+/).length,
      avg_confidence: 0.5,
      primary_language: "en",
      elapsed_seconds: 0.25,
    },
    classification: null,
    processed_at: new Date("2026-02-26T14:30:00.123Z"),
    ...more,
  };
}
