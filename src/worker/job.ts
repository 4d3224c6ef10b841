import * as v from "valibot";
import { type Delivery, pause } from "../broker/broker.ts";
import type { ContentStore, ExtractedText } from "../content/content-store.ts";
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
import { createBlobFinder } from "../domain/blobs.ts";
import { fileType } from "../domain/filenames.ts";
import { AppError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import type { Extract } from "./extraction.ts";
import { Unreadable } from "./limits.ts";

const PROGRESS_MS = 300;
/** While a part is away, doubled for each repetition. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

export interface JobParts {
  database: Database;
  storage: Storage;
  content: ContentStore;
  extract: Extract;
  log: Logger;
}

/** Of what workers are sent. `file_path` is the URL or the key of the blob. */
const MESSAGE = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({
    doc_id: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
    file_path: v.string(),
  }),
);
type Message = v.InferOutput<typeof MESSAGE>;

/** The document was deleted, finished or queued anew while it was read. */
class Overtaken extends Error {}

/** What happens to one message of the OCR queue. Doing it twice gives one result. */
export function createJob(parts: JobParts) {
  const { database, content, log } = parts;

  /** Undefined when there is nothing to do: the document is gone, or done. */
  async function begin(docId: number): Promise<Document | undefined> {
    const document = await findDocument(database, docId);
    // A worker that died after a deletion may have left a text.
    if (!document) await content.delete(docId);
    else if (await startProcessing(database, docId, new Date())) return document;
    return undefined;
  }

  /** Whether it was this run that finished the document. */
  async function finish(textId: string, { doc_id: docId, ocr }: ExtractedText): Promise<boolean> {
    const { isThere, isFinished } = await database.transaction(async (tx) => {
      const now = new Date();
      // First, as who queues a document again locks it first.
      const isThere = await updateTextId(tx, docId, textId, now);
      const isFinished = isThere && (await finishProcessing(tx, docId, now));
      if (isFinished) await insertOcrResult(tx, docId, ocr, now);
      return { isThere, isFinished };
    });
    if (!isThere) await content.delete(docId);
    return isFinished;
  }

  async function fail(docId: number, message: string): Promise<void> {
    if (await failProcessing(database, docId, { message, now: new Date() }))
      log.info("a document failed", { doc_id: docId, reason: message });
  }

  return {
    /** Throws for what is no message, for an unexpected fault, and the signal's reason. */
    async handle({ body }: Delivery, signal: AbortSignal): Promise<void> {
      const message = v.parse(MESSAGE, body);
      const { doc_id } = message;
      const retrying = patiently(signal, log);
      const document = await retrying(() => begin(doc_id));
      if (!document) return log.info("nothing to do for a document", { doc_id });
      try {
        const text = await retrying(() => read(parts, document, message, signal));
        const textId = await retrying(() => content.put(text, document.uploadedByUserId));
        const isFinished = await retrying(() => finish(textId, text));
        const { page_count, elapsed_seconds } = text.ocr;
        if (isFinished) log.info("a document is finished", { doc_id, page_count, elapsed_seconds });
      } catch (error) {
        if (error instanceof Overtaken) return log.info("a document was overtaken", { doc_id });
        if (!(error instanceof Unreadable)) throw error;
        await retrying(() => fail(doc_id, error.message));
      }
    },

    /** Before a message is parked: its document fails. Throws when that can't be noted now. */
    async giveUp({ body }: Delivery): Promise<void> {
      const message = v.safeParse(MESSAGE, body);
      const advice = "Reprocess it later, or upload it in another format.";
      const told = `The document could not be processed in several attempts. ${advice}`;
      if (message.success) await fail(message.output.doc_id, told);
    },
  };
}

/** Reads a document, until `signal` is aborted or somebody else has the document. */
async function read(
  { database, storage, extract }: JobParts,
  document: Document,
  message: Message,
  signal: AbortSignal,
): Promise<ExtractedText> {
  const { docId, filename, blobKey } = document;
  const key = blobKey ?? message.file_path;
  const blob = await createBlobFinder(storage)(key);
  if (!blob) throw new Unreadable("The file is missing from the storage. Upload it again.");
  const ending = new AbortController();
  const stop = () => ending.abort(signal.reason);
  let pages: [done: number, total: number] | undefined;
  let writing: Promise<unknown> | undefined;
  // The latest state, not each one. A write that fails is left out: the next tells more.
  const timer = setInterval(() => {
    if (!pages) return;
    writing = noteProgress(database, docId, ...pages).then(
      (rows) => rows === 0 && ending.abort(new Overtaken()),
      () => {},
    );
    pages = undefined;
  }, PROGRESS_MS);
  signal.addEventListener("abort", stop);
  try {
    signal.throwIfAborted();
    const source = { size: blob.size, open: () => storage.downloadStream(key) };
    const onPage = (...state: [number, number]) => {
      pages = state;
    };
    const extraction = await extract(source, onPage, ending.signal);
    return {
      doc_id: docId,
      filename,
      file_type: fileType(filename) ?? "",
      blob_path: key,
      ...extraction,
      classification: null,
      processed_at: new Date(),
    };
  } finally {
    signal.removeEventListener("abort", stop);
    clearInterval(timer);
    await writing;
  }
}

/** Repeats what fails because a part is unavailable, which is not the document's fault. */
function patiently(signal: AbortSignal, log: Logger) {
  return async <Result>(work: () => Promise<Result>): Promise<Result> => {
    for (let wait = FIRST_PAUSE_MS; ; wait = Math.min(2 * wait, LONGEST_PAUSE_MS)) {
      signal.throwIfAborted();
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof AppError && error.code === "unavailable")) throw error;
        log.warn("the worker waits for a part", { milliseconds: wait, error });
        await pause(wait, signal);
      }
    }
  };
}
