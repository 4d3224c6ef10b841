import { type ChildProcess, fork } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import type { Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { engineFolders } from "./engines.ts";
import type { Order, Report } from "./messages.ts";

/** How much of what the engine process wrote in its death goes into the error, in characters. */
const LAST_WORDS = 2_000;

export interface EngineProcess {
  /** When its engines are loaded. Rejects like `ended`. */
  readonly ready: Promise<void>;
  /** Rejects when the process has ended, with `kill`'s reason or with what is known. */
  readonly ended: Promise<never>;
  /** Takes the bytes of the document that was ordered. */
  readonly input: Writable;
  order(order: Order, onReport: (report: Report) => void): void;
  /** The first reason counts. */
  kill(reason: unknown): void;
  /** Resident memory in bytes; 0 where there is no `/proc`. */
  memory(): number;
}

/** The engine beside this file, as source or compiled. */
const PROGRAM = fileURLToPath(new URL(`./engine${extname(import.meta.url)}`, import.meta.url));

/** The engine's watchman is a thread. The warning is of threads that foreign code starts. */
const THREADS = ["--allow-worker", "--disable-warning=PERM0006"];

/** No file but the programs, no child process, no add-on, nothing of the environment. */
function spawnEngine(): ChildProcess {
  const folders = [dirname(PROGRAM), ...engineFolders()];
  const reads = folders.map((folder) => `--allow-fs-read=${join(folder, "*")}`);
  return fork(PROGRAM, [], {
    cwd: dirname(PROGRAM),
    env: {},
    execArgv: ["--permission", ...reads, ...THREADS, "--max-old-space-size=512"],
    stdio: ["pipe", "ignore", "pipe", "ipc"],
  });
}

function residentBytes(pid: number | undefined): number {
  try {
    const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
    return Number(kilobytes?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

/** Starts an engine process, which reads one document at a time. */
export function startEngine(): EngineProcess {
  const child = spawnEngine();
  const { stdin, stderr } = child;
  if (!stdin || !stderr) throw new Error("The engine process has no pipes");
  let killed: { reason: unknown } | undefined;
  let lastWords = "";
  stderr.setEncoding("utf8").on("data", (said: string) => {
    lastWords = (lastWords + said).slice(-LAST_WORDS);
  });
  // Whoever writes into it hears of its end by `ended`.
  stdin.on("error", () => {});

  const ended = new Promise<never>((_, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => {
      const how = signal ?? `code ${code}`;
      reject(killed ? killed.reason : new Error(`The engine ended with ${how}: ${lastWords}`));
    });
  });
  const loaded = new Promise<void>((resolve) => {
    child.once("message", () => resolve());
  });
  const ready = Promise.race([loaded, ended]);
  // Nobody may be waiting when it ends.
  for (const promise of [ended, ready]) promise.catch(() => {});
  return {
    ready,
    ended,
    input: stdin,
    order(order, onReport) {
      child.removeAllListeners("message").on("message", onReport);
      child.send(order, () => {});
    },
    kill(reason) {
      killed ??= { reason };
      child.kill("SIGKILL");
    },
    memory: () => residentBytes(child.pid),
  };
}
