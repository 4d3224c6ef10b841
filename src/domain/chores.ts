import type { Logger } from "../log.ts";

/** Milliseconds. */
const MINUTE = 60_000;
const SOON = 1000;

/**
 * Runs `chores` in the background, now and every `interval` milliseconds, one round at a time. Logs
 * the first of failures in a row.
 */
export function startChores(
  chores: (stopping: AbortSignal) => Promise<unknown>,
  log: Logger,
  interval = MINUTE,
): { soon(): void; stop(): Promise<void> } {
  const stopping = new AbortController();
  let round: Promise<void> | undefined;
  let early: NodeJS.Timeout | undefined;
  let isFailing = false;
  const start = () => {
    round ??= chores(stopping.signal)
      .then(() => {
        isFailing = false;
      })
      .catch((error) => {
        const level = isFailing ? "debug" : "warn";
        log[level]("the background chores failed and will be tried again", { error });
        isFailing = true;
      })
      .finally(() => {
        round = undefined;
      });
  };
  const timer = setInterval(start, interval).unref();
  start();
  return {
    /** Asks for a round that begins within a second, or when the one under way then has ended. */
    soon() {
      early ??= setTimeout(async () => {
        early = undefined;
        await round;
        if (!stopping.signal.aborted) start();
      }, SOON).unref();
    },
    /** Waits for the round under way. */
    async stop() {
      clearInterval(timer);
      clearTimeout(early);
      stopping.abort();
      await round;
    },
  };
}
