import type { Database } from "../data/database.ts";
import { deleteExpiredSessions } from "../data/sessions.ts";
import type { Logger } from "../log.ts";
import type { Erasure } from "./erasure.ts";

/** Milliseconds. */
const INTERVAL = 60_000;

/** Does the background chores now and every minute: deletions that are due, sessions that expired. */
export function startJanitor({
  database,
  erasure,
  log,
  now,
}: {
  database: Database;
  erasure: Erasure;
  log: Logger;
  now: () => Date;
}): { stop(): Promise<void> } {
  const stopping = new AbortController();
  let round: Promise<void> | undefined;

  async function clean(): Promise<void> {
    try {
      await erasure.eraseDue(stopping.signal);
      await deleteExpiredSessions(database, now());
    } catch (error) {
      log.warn("the background chores failed and will be tried again", { error });
    } finally {
      round = undefined;
    }
  }

  const start = () => {
    round ??= clean();
  };
  const timer = setInterval(start, INTERVAL).unref();
  start();
  return {
    async stop() {
      clearInterval(timer);
      stopping.abort();
      await round;
    },
  };
}
