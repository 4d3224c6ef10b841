import { type Document, listDocumentsByIds } from "../data/documents.ts";
import type { Logger } from "../log.ts";
import type { Caller, Core } from "./authority.ts";
import { getVisible } from "./documents.ts";

/** Milliseconds between two looks. */
const INTERVAL = 1000;
/** Documents in one statement. */
const CHUNK = 100;

interface Waiter {
  seen: Document;
  wake(): void;
}

export type StatusWatch = ReturnType<typeof createStatusWatch>;

/** Waits for documents to get on. One look a second serves all who wait. */
export function createStatusWatch({
  database,
  authority,
  log,
}: Pick<Core, "database" | "authority"> & { log: Logger }) {
  const waiters = new Set<Waiter>();
  let isAwake = false;
  let isStopped = false;

  /** Again after a while, as long as somebody waits; a fault leaves everybody waiting. */
  async function look(): Promise<void> {
    try {
      // Who comes meanwhile is looked after next time.
      const present = [...waiters];
      const ids = [...new Set(present.map(({ seen }) => seen.docId))];
      const current = new Map<number, Document>();
      for (let at = 0; at < ids.length; at += CHUNK)
        for (const document of await listDocumentsByIds(database, ids.slice(at, at + CHUNK)))
          current.set(document.docId, document);
      for (const { seen, wake } of present) if (isNews(current.get(seen.docId), seen)) wake();
    } catch (error) {
      log.warn("the documents that clients wait for could not be looked at", { error });
    }
    isAwake = waiters.size > 0;
    if (isAwake) setTimeout(look, INTERVAL);
  }

  /** Until the document is no longer as it was seen, or so many seconds are over. */
  async function wait(seen: Document, seconds: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve: wake } = Promise.withResolvers<void>();
    const waiter = { seen, wake };
    const end = setTimeout(wake, seconds * 1000);
    signal.addEventListener("abort", () => wake());
    if (isStopped || signal.aborted) wake();
    waiters.add(waiter);
    if (!isAwake) setTimeout(look, INTERVAL);
    isAwake = true;
    await promise;
    clearTimeout(end);
    waiters.delete(waiter);
  }

  return {
    /**
     * The document when its status or its page numbers are no longer as the caller saw them, at the
     * latest after `seconds`: at once when no worker will change it, or at a `stop`. Throws the
     * signal's reason, and 401, 403 or 404 when the caller may not see it any more.
     */
    async next(
      caller: Caller,
      seen: Document,
      seconds: number,
      signal: AbortSignal,
    ): Promise<Document> {
      if (seen.status === "Finished" || seen.status === "Failed") return seen;
      await wait(seen, seconds, signal);
      signal.throwIfAborted();
      const user = await authority.check(database, caller, "active");
      return getVisible(database, user, seen.docId);
    },

    /** Lets nobody wait any longer. */
    async stop(): Promise<void> {
      isStopped = true;
      for (const { wake } of waiters) wake();
    },
  };
}

/** Also of a document that is gone. */
function isNews(current: Document | undefined, seen: Document): boolean {
  return (
    current?.status !== seen.status ||
    current.pagesDone !== seen.pagesDone ||
    current.pagesTotal !== seen.pagesTotal
  );
}
