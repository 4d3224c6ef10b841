import type { Queryable } from "../data/database.ts";
import { type Document, lockDocument } from "../data/documents.ts";
import { removeFromOutboxByDocument } from "../data/outbox.ts";
import { listStages, requeueStages } from "../data/processing.ts";
import { AppError } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import { ADMIN_ROLE, type Caller, type Core } from "./authority.ts";
import { type Documents, getVisible } from "./documents.ts";
import type { OcrQueue } from "./ocr-queue.ts";

interface Parts extends Core {
  storage: Storage;
  documents: Documents;
  queue: OcrQueue;
}

export type Reprocess = ReturnType<typeof createReprocess>;

export function createReprocess({ documents, queue, storage, authority, audit, now }: Parts) {
  /** Throws 409 while a worker has the document or will have it. */
  async function checkIdle(q: Queryable, { docId, status }: Document): Promise<void> {
    const names: readonly string[] = queue.stages;
    const stages = await listStages(q, docId);
    // The cloud worker moves the blob in the second stage.
    const isProcessing = stages.some(
      (stage) => stage.status === "Processing" && names.includes(stage.stageName),
    );
    if (status !== "Queued" && !isProcessing) return;
    const state = isProcessing ? "being processed" : "queued";
    const detail = `The document is ${state}; an administrator can force it with ?force=true.`;
    throw new AppError("conflict", detail);
  }

  /**
   * Queues a document again, from where its bytes are now, in place of a message that was not sent
   * yet. 404 also when the bytes are gone; 409 while it is worked on, unless an admin says `force`.
   */
  return async (caller: Caller, docId: number, force: boolean): Promise<Document> => {
    const { key } = await documents.locate(caller, docId);
    const queued = await authority.act(caller, "active", async (tx, user) => {
      const at = now();
      await lockDocument(tx, docId);
      const document = await getVisible(tx, user, docId);
      if (!force || user.roleId !== ADMIN_ROLE) await checkIdle(tx, document);
      await requeueStages(tx, docId, queue.stages, at);
      await removeFromOutboxByDocument(tx, docId);
      await queue.add(tx, document, storage.url(key), at);
      const details = { filename: document.filename, status: document.status };
      await audit.record(tx, "document_reprocess", caller, docId, details);
      return getVisible(tx, user, docId);
    });
    queue.notify();
    return queued;
  };
}
