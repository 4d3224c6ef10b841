import { type EventEmitter, once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "./log.ts";

/** Milliseconds before a process is started again, doubled for each that lived no longer. */
const FIRST_PAUSE = 1_000;
const LONGEST_PAUSE = 60_000;

interface End {
  code?: number;
  signal?: string;
  error?: unknown;
}

/** Starts a process, and again whenever it ends, until `signal` is aborted or `isOver` says so. */
export async function keepRunning(
  name: string,
  log: Logger,
  signal: AbortSignal,
  start: () => EventEmitter,
  isOver: (end: End) => boolean,
): Promise<void> {
  let next = FIRST_PAUSE;
  while (!signal.aborted) {
    const started = performance.now();
    const end = await endOf(start);
    if (signal.aborted || isOver(end)) return;
    const milliseconds = performance.now() - started > LONGEST_PAUSE ? FIRST_PAUSE : next;
    next = Math.min(2 * milliseconds, LONGEST_PAUSE);
    log.warn(`${name} ended and is started again`, { ...end, milliseconds });
    await delay(milliseconds, undefined, { signal }).catch(() => {});
  }
}

async function endOf(start: () => EventEmitter): Promise<End> {
  try {
    const [code, signal] = await once(start(), "exit");
    return { code, signal };
  } catch (error) {
    return { error };
  }
}
