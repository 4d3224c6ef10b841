import { pause } from "../broker/broker.ts";

/** Between two writes. */
const INTERVAL_MS = 300;

/**
 * Writes how far a document is, the latest state and not each one. A write that fails is left out:
 * the next one tells more.
 */
export function createProgress(write: (done: number, total: number) => Promise<unknown>) {
  const ended = new AbortController();
  let latest: [done: number, total: number] | undefined;
  let writing: Promise<void> | undefined;

  async function writeLatest(): Promise<void> {
    while (latest && !ended.signal.aborted) {
      const state = latest;
      latest = undefined;
      await write(...state).catch(() => {});
      await pause(INTERVAL_MS, ended.signal);
    }
    writing = undefined;
  }

  return {
    set(done: number, total: number): void {
      latest = [done, total];
      writing ??= writeLatest();
    },
    /** Waits for the write under way. */
    async end(): Promise<void> {
      ended.abort();
      await writing;
    },
  };
}
