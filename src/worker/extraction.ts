import type { Readable } from "node:stream";
import type { Logger } from "../log.ts";
import { type Answer, type EngineProcess, startEngine } from "./engine-process.ts";
import { LIMITS, type Limits } from "./limits.ts";
import { spell, tooMuch, Unreadable } from "./unreadable.ts";

export { Unreadable };

/** What a document says. `seconds` is the time from its last byte's arrival to its text. */
export interface Extraction {
  text: string;
  pageCount: number;
  wordCount: number;
  /** From 0 to 1: the mean of the pages, weighted by their words. */
  confidence: number;
  language: "ar" | "en" | "und";
  seconds: number;
}

/** A document. `open` starts its bytes, exactly `size` of them. */
export interface Source {
  filename: string;
  contentType: string | null;
  size: number;
  open(): Promise<Readable>;
}

/** Hears of pages done of all, first of none. */
type OnPage = (done: number, total: number) => void;

/** Reads one document at a time. */
export interface Extractor {
  /**
   * Throws `Unreadable`; what `open` or its stream throws; an Error when the engine died for no
   * known reason; the signal's reason.
   */
  extract(source: Source, onPage: OnPage, signal: AbortSignal): Promise<Extraction>;
  /** Ends the engine process, and with it what is being read. */
  close(): Promise<void>;
}

/** WebAssembly memory never shrinks, and pieces of it get lost. */
const DOCUMENTS_A_PROCESS = 50;
/** Between two looks at the time and the memory that a document takes. */
const WATCH_MS = 250;

/** Reads documents in a process that it starts when one comes, and anew after a fault. */
export function createExtractor(options: { log: Logger; limits?: Partial<Limits> }): Extractor {
  const limits = { ...LIMITS, ...options.limits };
  let engine: EngineProcess | undefined;
  let documents = 0;
  let isBusy = false;
  let isClosed = false;

  async function end(reason: unknown): Promise<void> {
    engine?.kill(reason);
    await engine?.ended.catch(() => {});
  }

  async function getEngine(): Promise<EngineProcess> {
    // Half of the memory may be what other documents left.
    const isFull = engine && engine.memory() > limits.memoryBytes / 2;
    if (isFull || documents >= DOCUMENTS_A_PROCESS) await end(new Error("It is worn"));
    if (isClosed) throw new Error("The extractor is closed");
    if (!engine) {
      documents = 0;
      engine = startEngine();
      engine.ended.catch(() => {
        engine = undefined;
      });
    }
    documents += 1;
    return engine;
  }

  return {
    async extract(source, onPage, signal) {
      signal.throwIfAborted();
      if (isBusy) throw new Error("The extractor reads another document");
      if (source.size === 0) throw new Unreadable("The file is empty. Send it again.");
      if (source.size > limits.fileBytes)
        throw tooMuch(`The file is too large (at most ${spell(limits.fileBytes / 1e6)} MB)`);
      isBusy = true;
      const stop = () => engine?.kill(signal.reason);
      signal.addEventListener("abort", stop);
      let answer: Answer;
      try {
        const current = await getEngine();
        signal.throwIfAborted();
        answer = await readWith(current, source, limits, onPage);
      } catch (error) {
        await end(error);
        if (!signal.aborted) options.log.warn("The engine process was ended", { error });
        throw error;
      } finally {
        signal.removeEventListener("abort", stop);
        isBusy = false;
      }
      if (answer.kind === "unreadable") throw new Unreadable(answer.message);
      return answer.extraction;
    },
    async close() {
      isClosed = true;
      await end(new Error("The extractor is closed"));
    },
  };
}

/** Throws when the engine process should be ended, or has: by itself or for the limits. */
async function readWith(engine: EngineProcess, source: Source, limits: Limits, onPage: OnPage) {
  // The time is the document's once all its bytes are there.
  let started = Infinity;
  let pageStarted = Infinity;
  const watch = setInterval(() => {
    const seconds = (since: number) => (performance.now() - since) / 1_000;
    const refuse = (what: string) => engine.kill(tooMuch(what));
    if (engine.memory() > limits.memoryBytes)
      refuse(`The document takes more memory than ${spell(limits.memoryBytes / 1e6)} MB to read`);
    if (seconds(pageStarted) > limits.pageSeconds)
      refuse(`A page takes longer than ${spell(limits.pageSeconds)} seconds to read`);
    if (seconds(started) > limits.documentSeconds)
      refuse(`The document takes longer than ${spell(limits.documentSeconds)} seconds to read`);
  }, WATCH_MS);

  async function read(): Promise<Answer> {
    await engine.ready;
    const answer = new Promise<Answer>((resolve) => {
      engine.order({ size: source.size, limits }, (report) => {
        if (report.kind === "done" || report.kind === "unreadable") resolve(report);
        if (report.kind !== "page") return;
        pageStarted = performance.now();
        onPage(report.done, report.total);
      });
    });
    await send(source, engine);
    started = pageStarted = performance.now();
    return answer;
  }
  try {
    return await Promise.race([read(), engine.ended]);
  } finally {
    clearInterval(watch);
  }
}

/** Holds no more of the document than a chunk: the pipe to the engine sets the pace. */
async function send(source: Source, engine: EngineProcess): Promise<void> {
  const stream = await source.open();
  engine.ended.catch((reason) => stream.destroy(reason));
  let sent = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    sent += chunk.length;
    if (sent > source.size) break;
    if (!engine.input.write(chunk))
      await new Promise((resolve) => engine.input.once("drain", resolve));
  }
  if (sent !== source.size)
    throw new Error(`The stored file has not the ${source.size} bytes that it should have`);
}
