import { fork } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { engineFolders } from "./engines.ts";
import type { Extraction } from "./extraction.ts";
import type { Limits } from "./limits.ts";

/** What the engine process is told: a document, whose `size` bytes come by the standard input. */
export interface Order {
  size: number;
  limits: Limits;
}

/** How a document ends. */
export type Answer =
  | { kind: "done"; extraction: Extraction }
  | { kind: "unreadable"; message: string };

/** What the engine process says: once that it is ready, then of each document. */
export type Report = { kind: "ready" } | { kind: "page"; done: number; total: number } | Answer;

/** How long the engines may take to load. */
const START_SECONDS = 60;
/** How many characters of what the process wrote in its death go into the error. */
const LAST_WORDS = 2_000;

/** The engine beside this file, as source or compiled. */
const PROGRAM = fileURLToPath(new URL(`./engine${extname(import.meta.url)}`, import.meta.url));

export type EngineProcess = ReturnType<typeof startEngine>;

/**
 * Starts an engine process, which reads one document at a time. It has no file but the programs,
 * no child process, no add-on, nothing of the environment.
 */
export function startEngine() {
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
  const ended = new Promise<never>((_, reject) => {
    child.on("error", reject);
    child.once("close", (code, signal) => {
      const how = signal ?? `code ${code}`;
      reject(reason ?? new Error(`The engine ended with ${how}: ${lastWords}`));
    });
  });
  // Nobody may be waiting when it ends.
  ended.catch(() => {});
  const { stdin, stderr } = child;
  if (!stdin || !stderr) throw new Error("The engine process has no pipes");
  // Whoever writes into it hears of its end by `ended`.
  stdin.on("error", () => {});
  stderr.on("data", (said: Buffer) => {
    lastWords = `${lastWords}${said}`.slice(-LAST_WORDS);
  });

  function kill(why: unknown): void {
    reason ??= why;
    // An answer that is under way would make the next document meet this end.
    child.removeAllListeners("message").kill("SIGKILL");
  }
  const late = new Error(`The engines did not load within ${START_SECONDS} seconds`);
  const timer = setTimeout(kill, START_SECONDS * 1_000, late).unref();
  const ready = new Promise<void>((resolve) => child.once("message", () => resolve()));
  ready.then(() => clearTimeout(timer));

  return {
    /** When its engines are loaded; never if it ends before. */
    ready,
    /** Rejects when the process has ended, with `kill`'s reason or with what is known. */
    ended,
    /** Takes the bytes of the document that was ordered. */
    input: stdin,
    order(order: Order, onReport: (report: Report) => void): void {
      child.removeAllListeners("message").on("message", onReport);
      child.send(order, () => {});
    },
    /** The first reason counts. */
    kill,
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
