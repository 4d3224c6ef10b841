import { setTimeout as delay } from "node:timers/promises";

export interface Backoff {
  /** How often to try again after the first attempt. */
  retries: number;
  /** Seconds: the wait before retry n is base to the power of n. */
  base: number;
  /** Ends a wait, and with it the trying. */
  signal: AbortSignal;
  shouldRetry: (error: unknown) => boolean;
  /** Told before each wait; `attempt` counts from 1. */
  onWait: (attempt: number, seconds: number, error: unknown) => void;
}

/** Tries `work` until it succeeds, waiting longer each time; throws its last error when it never did. */
export async function withBackoff<Result>(
  backoff: Backoff,
  work: () => Promise<Result>,
): Promise<Result> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (attempt > backoff.retries || backoff.signal.aborted || !backoff.shouldRetry(error))
        throw error;
      const seconds = backoff.base ** attempt;
      backoff.onWait(attempt, seconds, error);
      await delay(seconds * 1000, undefined, { signal: backoff.signal }).catch(() => {
        throw error;
      });
    }
  }
}
