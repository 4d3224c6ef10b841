import { randomUUID } from "node:crypto";
import type { Broker } from "../broker/broker.ts";
import type { Queryable } from "../data/database.ts";
import type { Document } from "../data/documents.ts";
import { addToOutbox } from "../data/outbox.ts";
import { OCR_STAGE } from "../data/processing.ts";

/** The stages that each worker expects to find, one row each. */
const STAGES = { ocr_api: [OCR_STAGE], ai_foundry: [OCR_STAGE, "Classification"] } as const;

export type OcrQueue = ReturnType<typeof createOcrQueue>;

/**
 * The workers' queue, directly where it is a table of this database, else through the outbox;
 * `notify` says that a message was committed there.
 */
export function createOcrQueue(options: {
  backend: keyof typeof STAGES;
  name: string;
  broker: Pick<Broker, "enqueue">;
  notify: () => void;
}) {
  const { backend, name, broker, notify } = options;
  return {
    stages: STAGES[backend],
    notify: () => {
      if (!broker.enqueue) notify();
    },

    /** Adds a message, in the transaction that queues the document; `file_path` is its URL. */
    async add(
      tx: Queryable,
      document: Pick<Document, "docId" | "filename" | "uploadedByUserId">,
      file_path: string,
      now: Date,
    ): Promise<void> {
      const { docId: doc_id, filename, uploadedByUserId: user_id } = document;
      const body = JSON.stringify({ doc_id, file_path, filename, user_id });
      const id = randomUUID();
      if (broker.enqueue) return broker.enqueue(tx, name, { id, body });
      await addToOutbox(tx, { doc_id, queue: name, message_id: id, body }, now);
    },
  };
}
