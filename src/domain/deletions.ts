import type { ContentStore } from "../content/content-store.ts";
import type { Database } from "../data/database.ts";
import { type Deletion, listDueDeletions, removeDeletion } from "../data/deletions.ts";
import { documentHasBytes } from "../data/documents.ts";
import type { Logger } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import { type FindBlob, isOwnKey } from "./blobs.ts";

/** Deletions read at once. */
const BATCH = 100;

interface Parts {
  database: Database;
  storage: Storage;
  content: ContentStore;
  findBlob: FindBlob;
  log: Logger;
  now: () => Date;
}

export type Deletions = ReturnType<typeof createDeletions>;

/**
 * Removes blobs and texts that no row names. A deleted document's are noted until they are gone, an
 * upload's from before its first byte to its commit.
 */
export function createDeletions({ database, storage, content, findBlob, log, now }: Parts) {
  /** A worker may overwrite a moved blob: it goes only when its bytes are no other document's. */
  async function removeBlob(key: string, { docId, blobKey, sha256 }: Deletion): Promise<void> {
    if (key !== blobKey || !isOwnKey(key)) {
      const hash = await (await findBlob(key))?.hash();
      if (hash === undefined) return;
      const proven = sha256 === null ? key === blobKey : sha256 === hash;
      const filename = key.slice(key.lastIndexOf("/") + 1);
      if (!proven || (await documentHasBytes(database, filename, hash))) {
        log.warn("a blob stays: it may be another document's", { blob_key: key, doc_id: docId });
        return;
      }
    }
    await storage.delete(key);
  }

  /** When it fails it logs why, and the deletion stays for later. */
  async function carryOut(deletion: Deletion): Promise<void> {
    const { deletionId, docId, blobKey } = deletion;
    try {
      await removeBlob(blobKey, deletion);
      if (docId !== null) {
        const moved = (await content.get(docId))?.blob_path;
        if (moved) await removeBlob(moved, deletion);
        await content.delete(docId);
      }
      await removeDeletion(database, deletionId);
    } catch (error) {
      const what = { blob_key: blobKey, doc_id: docId, error };
      log.warn("a blob or a text will be removed later", what);
    }
  }

  return {
    carryOut,

    /** Carries out every deletion that is due, until `signal` is aborted. */
    async carryOutDue(signal: AbortSignal): Promise<void> {
      let deletions: Deletion[] = [];
      do {
        const afterId = deletions.at(-1)?.deletionId ?? 0;
        deletions = await listDueDeletions(database, { now: now(), afterId, limit: BATCH });
        for (const deletion of deletions) {
          if (signal.aborted) return;
          await carryOut(deletion);
        }
      } while (deletions.length === BATCH);
    },
  };
}
