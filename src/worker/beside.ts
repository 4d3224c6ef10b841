import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { extname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Logger } from "../log.ts";
import { enginesInstalled } from "./engines.ts";

const PROGRAM = fileURLToPath(new URL(`main${extname(import.meta.url)}`, import.meta.url));

/** Before a worker that ended is started again, doubled for each that lived no longer. */
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 60_000;
/** For its orderly end. */
const STOP_TIMEOUT_MS = 3_000;

/**
 * Runs an OCR worker as a child process with the server's own environment, and starts it again
 * when it ends, unless it was told to. Without the engines it says so once and runs none. What is
 * returned ends the worker and waits for that.
 */
export function startWorkerBeside({ log }: { log: Logger }): () => Promise<void> {
  const stopping = new AbortController();
  const { signal } = stopping;
  let child: ChildProcess | undefined;

  /** How one worker ended, or why it could not be started. */
  async function workOnce(): Promise<{ code?: number; signal?: string; error?: unknown }> {
    try {
      child = fork(PROGRAM, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
      const [code, signal] = await once(child, "exit");
      return { code, signal };
    } catch (error) {
      return { error };
    }
  }

  async function work(): Promise<void> {
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      const started = performance.now();
      const end = await workOnce();
      if (signal.aborted) return;
      // A signal to the whole group: the server is about to get its own.
      if (end.code === 0) return log.warn("the worker was told to end; documents stay queued");
      if (performance.now() - started > LONGEST_PAUSE_MS) pause = FIRST_PAUSE_MS;
      log.warn("the worker ended and is started again", { ...end, milliseconds: pause });
      await delay(pause, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
    }
  }

  if (!enginesInstalled()) {
    const advice = "Run `npm ci --include=optional`, or set EMBEDDED_WORKER=no.";
    log.warn(`the OCR engines are not installed: documents stay queued. ${advice}`);
    return async () => {};
  }
  const working = work();
  return async () => {
    stopping.abort();
    child?.kill("SIGTERM");
    const late = setTimeout(() => child?.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await working;
    clearTimeout(late);
  };
}
