import type { Readable } from "node:stream";
import type { Logger } from "../log.ts";
import { type EngineProcess, startEngine } from "./engine-process.ts";
import { LIMITS, type Limits } from "./limits.ts";
import type { Extracted } from "./messages.ts";
import { tooLarge, Unreadable } from "./unreadable.ts";
import { watchEngine } from "./watch.ts";

export { Unreadable };

/** What a document says. `seconds` is the time from its last byte's arrival to its text. */
export interface Extraction extends Extracted {
  seconds: number;
}

/** A document. `open` starts its bytes, exactly `size` of them. */
export interface Source {
  filename: string;
  contentType: string | null;
  size: number;
  open(): Promise<Readable>;
}

/** Reads one document at a time. */
export interface Extractor {
  /**
   * `onPage` hears of pages done of all, first of none. Throws `Unreadable`; what `open` or its
   * stream throws; an Error when the engine died for no known reason; the signal's reason.
   */
  extract(
    source: Source,
    onPage: (done: number, total: number) => void,
    signal: AbortSignal,
  ): Promise<Extraction>;
  /** Ends the engine process, and with it what is being read. */
  close(): Promise<void>;
}

/** How long the engines may take to load. */
const START_SECONDS = 60;
/** WebAssembly memory never shrinks, and pieces of it get lost. */
const DOCUMENTS_A_PROCESS = 50;

/** Reads documents in a process that it starts when one comes, and anew after a fault. */
export function createExtractor(options: { log: Logger; limits?: Partial<Limits> }): Extractor {
  const limits = { ...LIMITS, ...options.limits };
  let engine: EngineProcess | undefined;
  let documents = 0;
  let isBusy = false;
  let isClosed = false;

  async function end(reason: unknown): Promise<void> {
    const ending = engine;
    ending?.kill(reason);
    await ending?.ended.catch(() => {});
  }

  async function getEngine(): Promise<EngineProcess> {
    const isWorn = documents >= DOCUMENTS_A_PROCESS || !hasRoom(engine, limits);
    if (isWorn) await end(new Error("Another engine process takes over"));
    if (!engine) {
      documents = 0;
      const started = startEngine();
      started.ended.catch(() => {
        if (engine === started) engine = undefined;
      });
      engine = started;
    }
    documents += 1;
    return engine;
  }

  async function extract(
    source: Source,
    onPage: (done: number, total: number) => void,
    signal: AbortSignal,
  ): Promise<Extraction> {
    signal.throwIfAborted();
    if (isClosed) throw new Error("The extractor is closed");
    if (isBusy) throw new Error("The extractor reads another document");
    checkSize(source.size, limits);
    isBusy = true;
    const stop = () => engine?.kill(signal.reason);
    signal.addEventListener("abort", stop);
    let read: Extraction | Unreadable;
    try {
      const current = await getEngine();
      signal.throwIfAborted();
      read = await readWith(current, source, limits, onPage);
    } catch (error) {
      await end(error);
      if (!signal.aborted) options.log.warn("The engine process was ended", { error });
      throw error;
    } finally {
      signal.removeEventListener("abort", stop);
      isBusy = false;
    }
    if (read instanceof Unreadable) throw read;
    return read;
  }

  return {
    extract,
    async close() {
      isClosed = true;
      await end(new Error("The extractor is closed"));
    },
  };
}

/** Half of the memory may be what other documents left. */
const hasRoom = (engine: EngineProcess | undefined, limits: Limits): boolean =>
  engine === undefined || engine.memory() <= limits.memoryBytes / 2;

function checkSize(size: number, limits: Limits): void {
  if (size === 0) throw new Unreadable("The file is empty. Send it again.");
  if (size > limits.fileBytes) throw tooLarge(size, limits);
}

/** Returns `Unreadable` when the engine said so and is fine; throws when it should be ended. */
async function readWith(
  engine: EngineProcess,
  source: Source,
  limits: Limits,
  onPage: (done: number, total: number) => void,
): Promise<Extraction | Unreadable> {
  const watch = watchEngine(engine, limits);
  try {
    await start(engine);
    const answer = new Promise<Extracted | Unreadable>((resolve) => {
      engine.order({ size: source.size, limits }, (report) => {
        if (report.kind === "done") resolve(report.extracted);
        if (report.kind === "unreadable") resolve(new Unreadable(report.message));
        if (report.kind !== "page") return;
        watch.onPage();
        onPage(report.done, report.total);
      });
    });
    await send(source, engine);
    watch.start();
    const started = performance.now();
    const read = await Promise.race([answer, engine.ended]);
    if (read instanceof Unreadable) return read;
    return { ...read, seconds: (performance.now() - started) / 1_000 };
  } finally {
    watch.stop();
  }
}

async function start(engine: EngineProcess): Promise<void> {
  const late = new Error(`The engines did not load within ${START_SECONDS} seconds`);
  const timer = setTimeout(engine.kill, START_SECONDS * 1_000, late);
  try {
    await engine.ready;
  } finally {
    clearTimeout(timer);
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
    if (engine.input.write(chunk)) continue;
    const drained = new Promise((resolve) => engine.input.once("drain", resolve));
    await Promise.race([drained, engine.ended]);
  }
  if (sent !== source.size) {
    throw new Error(`The stored file has not the ${source.size} bytes that it should have`);
  }
}
