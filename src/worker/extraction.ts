import { fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import { addAbortSignal, type Readable, type Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { ExtractedText } from "../content/content-store.ts";
import { engineFolders } from "./engines.ts";
import { LIMITS, type Limits, spell, tooMuch, Unreadable } from "./limits.ts";

/** What a document says. `elapsed_seconds` is from its last byte's arrival to its text. */
export type Extraction = Pick<ExtractedText, "extracted_text" | "ocr">;

/** A document. `open` starts its bytes, exactly `size` of them. */
export interface Source {
  size: number;
  open(): Promise<Readable>;
}

/** The engine process's argument, in JSON. The document comes by the standard input. */
export interface Order {
  size: number;
  limits: Limits;
}

/** What the engine process says: it has the document, then pages done, and how it ends. */
export type Report =
  | { kind: "received" }
  | { kind: "page"; done: number; total: number }
  | { kind: "done"; extraction: Extraction }
  | { kind: "unreadable"; message: string };

export type Extract = typeof extract;

const PROGRAM = fileURLToPath(new URL(`./engine${extname(import.meta.url)}`, import.meta.url));
const WATCH_MS = 250;
const LAST_WORDS = 2_000;

/**
 * Reads a document in a process of its own. `onPage` hears of pages done of all, first of none.
 * Throws `Unreadable`, what the source throws, the signal's reason, or an Error for a dead engine.
 */
export async function extract(
  source: Source,
  onPage: (done: number, total: number) => void,
  signal: AbortSignal,
  limits: Limits = LIMITS,
): Promise<Extraction> {
  signal.throwIfAborted();
  if (source.size === 0) throw new Unreadable("The file is empty. Send it again.");
  if (source.size > limits.fileBytes)
    throw tooMuch(`The file is too large (at most ${spell(limits.fileBytes / 1e6)} MB)`);
  const child = startEngine({ size: source.size, limits });
  const over = new AbortController();
  over.signal.addEventListener("abort", () => child.kill("SIGKILL"));
  const stop = () => over.abort(signal.reason);
  signal.addEventListener("abort", stop);
  let extraction: Extraction | undefined;
  let refusal: Unreadable | undefined;
  let lastWords = "";
  let started = Infinity;
  let pageStarted = Infinity;
  child.on("message", (report: Report) => {
    pageStarted = performance.now();
    if (report.kind === "received") started = pageStarted;
    else if (report.kind === "page") onPage(report.done, report.total);
    else if (report.kind === "done") extraction = report.extraction;
    else refusal = new Unreadable(report.message);
  });
  child.stderr?.on("data", (said: Buffer) => {
    lastWords = `${lastWords}${said}`.slice(-LAST_WORDS);
  });
  const watch = setInterval(() => {
    const isOver = (since: number, seconds: number) => performance.now() - since > seconds * 1_000;
    const refuse = (what: string, most: number, unit: string) =>
      over.abort(tooMuch(`${what} ${spell(most)} ${unit} to read`));
    if (memoryOf(child.pid) > limits.memoryBytes)
      refuse("The document takes more memory than", limits.memoryBytes / 1e6, "MB");
    if (isOver(pageStarted, limits.pageSeconds))
      refuse("A page takes longer than", limits.pageSeconds, "seconds");
    if (isOver(started, limits.documentSeconds))
      refuse("The document takes longer than", limits.documentSeconds, "seconds");
  }, WATCH_MS);
  try {
    send(source, child.stdin as Writable, over.signal).catch((why) => over.abort(why));
    const [code, signalName] = await once(child, "close");
    if (extraction) return extraction;
    over.signal.throwIfAborted();
    const how = signalName ?? `code ${code}`;
    throw refusal ?? new Error(`The engine ended with ${how}: ${lastWords}`);
  } finally {
    over.abort();
    clearInterval(watch);
    signal.removeEventListener("abort", stop);
  }
}

/** Starts a process that has no file but the programs, no child process, no environment. */
function startEngine(order: Order) {
  const folders = [dirname(PROGRAM), ...engineFolders()];
  const reads = folders.map((folder) => `--allow-fs-read=${join(folder, "*")}`);
  // Its watchman is a thread. The warning is of threads that foreign code starts.
  const threads = ["--allow-worker", "--disable-warning=PERM0006"];
  return fork(PROGRAM, [JSON.stringify(order)], {
    cwd: dirname(PROGRAM),
    env: {},
    execArgv: ["--permission", ...reads, ...threads, "--max-old-space-size=512"],
    stdio: ["pipe", "ignore", "pipe", "ipc"],
  });
}

function memoryOf(pid: number | undefined): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

/** Holds no more of the document than a chunk: the pipe to the engine sets the pace. */
async function send({ size, open }: Source, input: Writable, over: AbortSignal): Promise<void> {
  // The engine's end is heard of by its exit.
  input.on("error", () => {});
  const stream = addAbortSignal(over, await open());
  let sent = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    sent += chunk.length;
    if (sent > size) break;
    if (!input.write(chunk)) await new Promise((resolve) => input.once("drain", resolve));
  }
  if (sent !== size)
    throw new Error(`The stored file has not the ${size} bytes that it should have`);
  input.end();
}
