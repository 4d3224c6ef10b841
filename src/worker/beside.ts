import { type ChildProcess, fork } from "node:child_process";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import type { Logger } from "../log.ts";
import { enginesInstalled } from "./engines.ts";

const PROGRAM = fileURLToPath(new URL(`main${extname(import.meta.url)}`, import.meta.url));

/** Before a worker that ended is started again, doubled for each that lived no longer. */
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 60_000;
/** For its orderly end. */
const STOP_TIMEOUT_MS = 3_000;

export interface WorkerBeside {
  /** Ends the worker and waits for that. */
  stop(): Promise<void>;
}

/**
 * Runs an OCR worker as a child process with the server's own environment, and starts it again
 * when it ends, unless it was told to. Without the engines it says so once and runs none.
 */
export function startWorkerBeside({ log }: { log: Logger }): WorkerBeside {
  let child: ChildProcess | undefined;
  let restart: NodeJS.Timeout | undefined;
  let pause = FIRST_PAUSE_MS;
  let isStopping = false;
  let onEnd = () => {};

  function start(): void {
    const started = performance.now();
    const ended = (code: number | null, signal: NodeJS.Signals | null, error?: unknown) => {
      child = undefined;
      onEnd();
      if (isStopping) return;
      // A signal to the whole group: the server is about to get its own.
      if (code === 0) return log.warn("the worker was told to end; documents stay queued");
      if (performance.now() - started > LONGEST_PAUSE_MS) pause = FIRST_PAUSE_MS;
      const how = { code, signal, milliseconds: pause, error };
      log.warn("the worker ended and is started again", how);
      restart = setTimeout(start, pause);
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
    };
    try {
      const worker = fork(PROGRAM, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
      worker.on("exit", ended);
      // One that could not be started has no other end.
      worker.on("error", (error) => worker.pid === undefined && ended(null, null, error));
      child = worker;
    } catch (error) {
      ended(null, null, error);
    }
  }

  if (enginesInstalled()) start();
  else {
    const advice = "Run `npm ci --include=optional`, or set EMBEDDED_WORKER=no.";
    log.warn(`the OCR engines are not installed: documents stay queued. ${advice}`);
  }
  return {
    async stop() {
      isStopping = true;
      clearTimeout(restart);
      if (!child) return;
      const ended = new Promise<void>((resolve) => {
        onEnd = resolve;
      });
      child.kill("SIGTERM");
      const late = setTimeout(() => child?.kill("SIGKILL"), STOP_TIMEOUT_MS);
      await ended;
      clearTimeout(late);
    },
  };
}
