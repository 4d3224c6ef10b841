import { fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { ExtractedText } from "../content/content-store.ts";
import type { Logger } from "../log.ts";
import { engineFolders } from "./engines.ts";
import { LIMITS, type Limits, spell, tooMuch, Unreadable } from "./limits.ts";

/** What a document says. `elapsed_seconds` is from its last byte's arrival to its text. */
export type Extraction = Pick<ExtractedText, "extracted_text" | "ocr">;

/** A document. `open` starts its bytes, exactly `size` of them. */
export interface Source {
  size: number;
  open(): Promise<Readable>;
}

/** What the engine process is told: a document, whose bytes come by the standard input. */
export interface Order {
  size: number;
  limits: Limits;
}

type Answer = { kind: "done"; extraction: Extraction } | { kind: "unreadable"; message: string };

/** What the engine process says: once that it is ready, then of each document. */
export type Report = { kind: "ready" } | { kind: "page"; done: number; total: number } | Answer;

/** Hears of pages done of all, first of none. */
type OnPage = (done: number, total: number) => void;

type Engine = ReturnType<typeof startEngine>;

export type Extractor = ReturnType<typeof createExtractor>;

/** The engine beside this file, as source or compiled. */
const PROGRAM = fileURLToPath(new URL(`./engine${extname(import.meta.url)}`, import.meta.url));
/** How long the engines may take to load. */
const START_SECONDS = 60;
/** Between two looks at the time and the memory that a document takes. */
const WATCH_MS = 250;
/** Of a process: WebAssembly memory never shrinks, and pieces of it get lost. */
const MAX_DOCUMENTS = 50;
/** How many characters of what the process wrote in its death go into the error. */
const LAST_WORDS = 2_000;

/** Reads documents in a process that it starts when one comes, and anew after a fault. */
export function createExtractor(options: { log: Logger; limits?: Partial<Limits> }) {
  const limits = { ...LIMITS, ...options.limits };
  let engine: Engine | undefined;
  let documents = 0;
  let isBusy = false;
  let isClosed = false;

  async function end(reason: unknown): Promise<void> {
    engine?.kill(reason);
    await engine?.ended.catch(() => {});
  }

  async function getEngine(): Promise<Engine> {
    // Half of the memory may be what other documents left.
    const isFull = engine && engine.memory() > limits.memoryBytes / 2;
    if (isFull || documents >= MAX_DOCUMENTS) await end(new Error("It is worn"));
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
    /**
     * Reads one document at a time. Throws `Unreadable`; what `open` or its stream throws; an Error
     * when the engine died for no known reason; the signal's reason.
     */
    async extract(source: Source, onPage: OnPage, signal: AbortSignal): Promise<Extraction> {
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
        answer = await read(current, source, limits, onPage);
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
    /** Ends the engine process, and with it what is being read. */
    async close(): Promise<void> {
      isClosed = true;
      await end(new Error("The extractor is closed"));
    },
  };
}

/** Starts a process that has no file but the programs, no child process, no environment. */
function startEngine() {
  const folders = [dirname(PROGRAM), ...engineFolders()];
  const reads = folders.map((folder) => `--allow-fs-read=${join(folder, "*")}`);
  // Its watchman is a thread. The warning is of threads that foreign code starts.
  const threads = ["--allow-worker", "--disable-warning=PERM0006"];
  const child = fork(PROGRAM, [], {
    cwd: dirname(PROGRAM),
    env: {},
    execArgv: ["--permission", ...reads, ...threads, "--max-old-space-size=512"],
    stdio: ["pipe", "ignore", "pipe", "ipc"],
  });
  let reason: unknown;
  let lastWords = "";
  child.stderr?.on("data", (said: Buffer) => {
    lastWords = `${lastWords}${said}`.slice(-LAST_WORDS);
  });
  const ended = new Promise<never>((_, reject) => {
    child.on("error", reject);
    child.once("close", (code, signal) => {
      const how = signal ?? `code ${code}`;
      reject(reason ?? new Error(`The engine ended with ${how}: ${lastWords}`));
    });
  });
  // Nobody may be waiting when it ends, and whoever writes into it hears of that by `ended`.
  ended.catch(() => {});
  const input = child.stdin as Writable;
  input.on("error", () => {});

  return {
    /** When its engines are loaded; never if it ends before. */
    ready: new Promise((resolve) => child.once("message", resolve)),
    /** Rejects when the process has ended, with `kill`'s reason or with what is known. */
    ended,
    /** Takes the bytes of the document that was ordered. */
    input,
    order(order: Order, onReport: (report: Report) => void): void {
      child.removeAllListeners("message").on("message", onReport);
      child.send(order, () => {});
    },
    /** The first reason counts. */
    kill(why: unknown): void {
      reason ??= why;
      // An answer that is under way would make the next document meet this end.
      child.removeAllListeners("message").kill("SIGKILL");
    },
    /** Resident memory in bytes; 0 where there is no `/proc`. */
    memory(): number {
      try {
        const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
        return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
      } catch {
        return 0;
      }
    },
  };
}

/** Throws when the engine process should be ended, or has: by itself or for the limits. */
async function read(engine: Engine, source: Source, limits: Limits, onPage: OnPage) {
  let loading = performance.now();
  // The time is the document's once all its bytes are there.
  let started = Infinity;
  let pageStarted = Infinity;
  const watch = setInterval(() => {
    const isOver = (since: number, seconds: number) => performance.now() - since > seconds * 1_000;
    const refuse = (what: string, most: number, unit: string) =>
      engine.kill(tooMuch(`${what} ${spell(most)} ${unit} to read`));
    if (engine.memory() > limits.memoryBytes)
      refuse("The document takes more memory than", limits.memoryBytes / 1e6, "MB");
    if (isOver(pageStarted, limits.pageSeconds))
      refuse("A page takes longer than", limits.pageSeconds, "seconds");
    if (isOver(started, limits.documentSeconds))
      refuse("The document takes longer than", limits.documentSeconds, "seconds");
    if (isOver(loading, START_SECONDS))
      engine.kill(new Error(`The engines did not load within ${START_SECONDS} seconds`));
  }, WATCH_MS);

  async function extract(): Promise<Answer> {
    await engine.ready;
    loading = Infinity;
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
    return await Promise.race([extract(), engine.ended]);
  } finally {
    clearInterval(watch);
  }
}

/** Holds no more of the document than a chunk: the pipe to the engine sets the pace. */
async function send({ size, open }: Source, { input, ended }: Engine): Promise<void> {
  const stream = await open();
  ended.catch((reason) => stream.destroy(reason));
  let sent = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    sent += chunk.length;
    if (sent > size) break;
    if (!input.write(chunk)) await once(input, "drain");
  }
  if (sent !== size)
    throw new Error(`The stored file has not the ${size} bytes that it should have`);
}
