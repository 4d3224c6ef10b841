import * as v from "valibot";
import type { Delivery } from "../broker/broker.ts";
import type { ContentStore } from "../content/content-store.ts";
import type { Database } from "../data/database.ts";
import { type Document, findDocument } from "../data/documents.ts";
import {
  failProcessing,
  finishProcessing,
  insertOcrResult,
  noteProgress,
  startProcessing,
  updateTextId,
} from "../data/processing.ts";
import type { FindBlob } from "../domain/blobs.ts";
import { fileType } from "../domain/filenames.ts";
import type { Logger } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import { type Extraction, type Extractor, Unreadable } from "./extraction.ts";
import { patiently } from "./patience.ts";
import { createProgress } from "./progress.ts";

export interface JobParts {
  database: Database;
  storage: Storage;
  content: ContentStore;
  findBlob: FindBlob;
  extractor: Extractor;
  log: Logger;
  now: () => Date;
}

/** What every worker of the platform is sent. `file_path` is the URL or the key of the blob. */
const MESSAGE = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({
    doc_id: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
    file_path: v.string(),
    filename: v.string(),
    user_id: v.pipe(v.number(), v.safeInteger()),
  }),
);
type Message = v.InferOutput<typeof MESSAGE>;

/** What happens to one message of the OCR queue. Doing it twice gives one result. */
export function createJob(parts: JobParts) {
  const { database, content, extractor, log, now } = parts;

  /** Undefined when there is nothing to do: the document is gone, or done. */
  async function begin({ doc_id: docId }: Message): Promise<Document | undefined> {
    const document = await findDocument(database, docId);
    if (!document) {
      // A worker that died after a deletion may have left it.
      await content.delete(docId);
      return undefined;
    }
    const isStarted = await database.transaction((tx) => startProcessing(tx, docId, now()));
    return isStarted ? document : undefined;
  }

  /** The text with the key of the blob that it is from. Throws `Unreadable`. */
  async function read(document: Document, message: Message, signal: AbortSignal) {
    const { docId, filename, contentType } = document;
    const { key, size } = await locate(parts, document.blobKey ?? message.file_path);
    const progress = createProgress((done, total) => noteProgress(database, docId, done, total));
    const source = { filename, contentType, size, open: () => parts.storage.downloadStream(key) };
    try {
      const extraction = await extractor.extract(source, progress.set, signal);
      return { key, extraction };
    } finally {
      await progress.end();
    }
  }

  /** Whether it was this run that finished the document. */
  async function finish(docId: number, textId: string, extraction: Extraction): Promise<boolean> {
    const isFinished = await database.transaction(async (tx) => {
      const at = now();
      if (!(await finishProcessing(tx, docId, at))) return false;
      await updateTextId(tx, docId, textId, at);
      await insertOcrResult(tx, docId, extraction, at);
      return true;
    });
    if (!isFinished && !(await findDocument(database, docId))) await content.delete(docId);
    return isFinished;
  }

  async function fail(docId: number, message: string): Promise<void> {
    if (await failProcessing(database, docId, { message, now: now() }))
      log.info("a document failed", { doc_id: docId, reason: message });
  }

  return {
    /** Throws for what is no message, for an unexpected fault, and the signal's reason. */
    async handle({ body }: Delivery, signal: AbortSignal): Promise<void> {
      const message = v.parse(MESSAGE, body);
      const docId = message.doc_id;
      const retrying = patiently(signal, log);
      const document = await retrying(() => begin(message));
      if (!document) return log.info("nothing to do for a document", { doc_id: docId });
      try {
        const { key, extraction } = await retrying(() => read(document, message, signal));
        const text = toText(document, key, extraction, now());
        const textId = await retrying(() => content.put(text, document.uploadedByUserId));
        const isFinished = await retrying(() => finish(docId, textId, extraction));
        const { pageCount, seconds } = extraction;
        if (isFinished) log.info("a document is finished", { doc_id: docId, pageCount, seconds });
      } catch (error) {
        if (!(error instanceof Unreadable)) throw error;
        await retrying(() => fail(docId, error.message));
      }
    },

    /** Before a message is parked: its document fails. Throws when that can't be noted now. */
    async giveUp({ body, deliveries }: Delivery): Promise<void> {
      const message = v.safeParse(MESSAGE, body);
      if (!message.success) return;
      const advice = "Reprocess it later, or upload it in another format.";
      const told = `The document could not be processed in ${deliveries} attempts. ${advice}`;
      await fail(message.output.doc_id, told);
    },
  };
}

async function locate({ findBlob }: JobParts, key: string): Promise<{ key: string; size: number }> {
  const blob = await findBlob(key);
  if (!blob) throw new Unreadable("The file is missing from the storage. Upload it again.");
  return { key, size: blob.size };
}

function toText(document: Document, key: string, extraction: Extraction, now: Date) {
  return {
    doc_id: document.docId,
    filename: document.filename,
    file_type: fileType(document.filename) ?? "",
    blob_path: key,
    extracted_text: extraction.text,
    ocr: {
      page_count: extraction.pageCount,
      word_count: extraction.wordCount,
      avg_confidence: extraction.confidence,
      primary_language: extraction.language,
      elapsed_seconds: extraction.seconds,
    },
    classification: null,
    processed_at: now,
  };
}
