import type { ContentStore } from "../content/content-store.ts";
import type { Database } from "../data/database.ts";
import { type Deletion, listDueDeletions, removeDeletion } from "../data/deletions.ts";
import { documentHasBytes } from "../data/documents.ts";
import type { Logger } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import { type Blobs, isOwnKey } from "./blobs.ts";

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
  blobs,
  log,
  now,
}: {
  database: Database;
  storage: Storage;
  content: ContentStore;
  blobs: Blobs;
  log: Logger;
  now: () => Date;
}) {
  /** Where others may overwrite, only bytes that are the deleted document's and no other's go. */
  async function eraseBlob(key: string, { docId, blobKey, sha256 }: Deletion): Promise<void> {
    if (key !== blobKey || !isOwnKey(key)) {
      const hash = await (await blobs.find(key))?.hash();
      if (hash === undefined) return;
      const proven = sha256 === null ? key === blobKey : sha256 === hash;
      const filename = key.slice(key.lastIndexOf("/") + 1);
      if (!proven || (await documentHasBytes(database, filename, hash))) {
        log.warn("a blob stays, for it may be another document's", {
          blob_key: key,
          doc_id: docId,
        });
        return;
      }
    }
    await storage.delete(key);
  }

  /** Does one deletion. Failing that it logs why, and leaves it for later. */
  async function erase(deletion: Deletion): Promise<void> {
    const { deletionId, docId, blobKey } = deletion;
    try {
      await eraseBlob(blobKey, deletion);
      if (docId !== null) {
        const moved = await blobs.movedTo(docId);
        if (moved !== undefined) await eraseBlob(moved, deletion);
        await content.delete(docId);
      }
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
