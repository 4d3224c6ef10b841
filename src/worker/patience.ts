import { pause } from "../broker/broker.ts";
import { AppError } from "../errors.ts";
import type { Logger } from "../log.ts";

/** Before the first repetition, doubled for each after it. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

/**
 * Repeats what fails because a part is unavailable, which is not the document's fault, until it
 * succeeds. Throws what else it fails with, and the signal's reason.
 */
export function patiently(signal: AbortSignal, log: Logger) {
  return async <Result>(work: () => Promise<Result>): Promise<Result> => {
    for (let wait = FIRST_PAUSE_MS; ; wait = Math.min(2 * wait, LONGEST_PAUSE_MS)) {
      signal.throwIfAborted();
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof AppError && error.code === "unavailable")) throw error;
        log.warn("the worker waits for a part", { milliseconds: wait, error });
        await pause(wait, signal);
      }
    }
  };
}
