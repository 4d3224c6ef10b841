import type { ContentStore } from "../content/content-store.ts";
import type { Database } from "../data/database.ts";
import { type Deletion, listDueDeletions, removeDeletion } from "../data/deletions.ts";
import type { Logger } from "../log.ts";
import type { Storage } from "../storage/storage.ts";

/** Deletions read at once. */
const BATCH = 100;

export type Erasure = ReturnType<typeof createErasure>;

/**
 * Removes blobs and texts that no row names any more. The table `Deletions` remembers them until they are gone, whatever is down
 * meanwhile: a deleted document's since its rows went, an upload's since before its first byte, until its commit takes that back.
 */
export function createErasure({
  database,
  storage,
  content,
  log,
  now,
}: {
  database: Database;
  storage: Storage;
  content: ContentStore;
  log: Logger;
  now: () => Date;
}) {
  /** Does one deletion. Failing that it logs why, and leaves it for later. */
  async function erase(deletion: Deletion): Promise<void> {
    const { deletionId, docId, blobKey } = deletion;
    try {
      await storage.delete(blobKey);
      if (docId !== null) await content.delete(docId);
      await removeDeletion(database, deletionId);
    } catch (error) {
      log.warn("a blob or a text will be removed later", {
        blob_key: blobKey,
        doc_id: docId,
        error,
      });
    }
  }

  return {
    erase,

    /** Does every deletion that is due; ends early when `signal` is aborted. */
    async eraseDue(signal: AbortSignal): Promise<void> {
      let afterId = 0;
      for (;;) {
        const deletions = await listDueDeletions(database, { now: now(), afterId, limit: BATCH });
        for (const deletion of deletions) {
          if (signal.aborted) return;
          await erase(deletion);
        }
        if (deletions.length < BATCH) return;
        afterId = deletions.at(-1)?.deletionId ?? afterId;
      }
    },
  };
}
