import { randomUUID } from "node:crypto";
import type { Queryable } from "../data/database.ts";
import { type Document, OCR_STAGE } from "../data/documents.ts";
import { addToOutbox } from "../data/outbox.ts";

/** The stages that each worker expects to find, one row each. */
const STAGES = { ocr_api: [OCR_STAGE], ai_foundry: [OCR_STAGE, "Classification"] } as const;

export type OcrQueue = ReturnType<typeof createOcrQueue>;

/** The workers' queue, through the outbox; `notify` says that a message was committed. */
export function createOcrQueue(options: {
  backend: keyof typeof STAGES;
  name: string;
  notify: () => void;
}) {
  const { backend, name, notify } = options;
  return {
    stages: STAGES[backend],
    notify,

    /** Adds a message, in the transaction that queues the document; `file_path` is its URL. */
    async add(
      tx: Queryable,
      document: Pick<Document, "docId" | "filename" | "uploadedByUserId">,
      file_path: string,
      now: Date,
    ): Promise<void> {
      const { docId: doc_id, filename, uploadedByUserId: user_id } = document;
      const body = JSON.stringify({ doc_id, file_path, filename, user_id });
      await addToOutbox(tx, { doc_id, queue: name, message_id: randomUUID(), body }, now);
    },
  };
}
