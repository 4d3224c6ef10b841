import type { Logger } from "../log.ts";

/** Milliseconds. */
const INTERVAL = 60_000;

/** Runs `chores` in the background, now and every minute, one round at a time. Logs what fails. */
export function startChores(
  chores: (stopping: AbortSignal) => Promise<void>,
  log: Logger,
): { stop(): Promise<void> } {
  const stopping = new AbortController();
  let round: Promise<void> | undefined;
  const start = () => {
    round ??= chores(stopping.signal)
      .catch((error) => log.warn("the background chores failed and will be tried again", { error }))
      .finally(() => {
        round = undefined;
      });
  };
  const timer = setInterval(start, INTERVAL).unref();
  start();
  return {
    /** Waits for the round under way. */
    async stop() {
      clearInterval(timer);
      stopping.abort();
      await round;
    },
  };
}
