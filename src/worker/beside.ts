import { type ChildProcess, fork } from "node:child_process";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import type { Logger } from "../log.ts";
import { keepRunning } from "../restarts.ts";
import { enginesInstalled } from "./engines.ts";

const PROGRAM = fileURLToPath(new URL(`main${extname(import.meta.url)}`, import.meta.url));

const STOP_TIMEOUT_MS = 3_000;

/**
 * Runs an OCR worker as a child process, again when it ends, unless it was told to end or the
 * engines are missing. What is returned ends it.
 */
export function startWorkerBeside(log: Logger): () => Promise<void> {
  if (!enginesInstalled()) {
    const advice = "Run `npm ci --include=optional`, or set EMBEDDED_WORKER=no.";
    log.warn(`the OCR engines are not installed: documents stay queued. ${advice}`);
    return async () => {};
  }
  const stopping = new AbortController();
  let child: ChildProcess | undefined;
  const start = () => {
    child = fork(PROGRAM, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    return child;
  };
  // A signal to the whole group: the server is about to get its own.
  const wasTold = ({ code }: { code?: number }) => {
    if (code === 0) log.warn("the worker was told to end; documents stay queued");
    return code === 0;
  };
  const working = keepRunning("the worker", log, stopping.signal, start, wasTold);
  return async () => {
    stopping.abort();
    child?.kill("SIGTERM");
    const late = setTimeout(() => child?.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await working;
    clearTimeout(late);
  };
}
