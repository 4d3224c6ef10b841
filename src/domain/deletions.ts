import type { ContentStore } from "../content/content-store.ts";
import {
  beginDeletion,
  type Deletion,
  listDueDeletions,
  removeDeletion,
} from "../data/deletions.ts";
import { documentHasBytes } from "../data/documents.ts";
import type { Logger } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import type { Core } from "./authority.ts";
import { type FindBlob, isOwnKey } from "./blobs.ts";

const BATCH = 100;

/** Milliseconds for which a deletion is left to the process that noted or began it. */
export const LEASE = 20_000;

/** Where blobs and texts are. */
export interface Stores {
  storage: Storage;
  content: ContentStore;
  findBlob: FindBlob;
  log: Logger;
}

type Parts = Stores & Pick<Core, "database" | "now">;

export type Deletions = ReturnType<typeof createDeletions>;

/**
 * Removes blobs and texts that no row names. A deleted document's are noted until they are gone, an
 * upload's from before its first byte to its commit. Of several processes one begins what is due.
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

  /** Whether it is done. When it fails it logs why, and the deletion stays for later. */
  async function carryOut(deletion: Deletion): Promise<boolean> {
    const { deletionId, docId, blobKey } = deletion;
    try {
      await removeBlob(blobKey, deletion);
      if (docId !== null) {
        const moved = (await content.get(docId))?.blob_path;
        if (moved) await removeBlob(moved, deletion);
        await content.delete(docId);
      }
      await removeDeletion(database, deletionId);
      return true;
    } catch (error) {
      const what = { blob_key: blobKey, doc_id: docId, error };
      log.warn("a blob or a text will be removed later", what);
      return false;
    }
  }

  return {
    carryOut,

    /** Carries out what is due, until one fails or `signal` is aborted. */
    async carryOutDue(signal: AbortSignal): Promise<void> {
      let due: Deletion[];
      do {
        due = await listDueDeletions(database, now(), { skip: 0, limit: BATCH });
        for (const deletion of due) {
          if (signal.aborted) return;
          const leaseEnd = new Date(now().getTime() + LEASE);
          if (!(await beginDeletion(database, deletion.deletionId, now(), leaseEnd))) continue;
          if (!(await carryOut(deletion))) return;
        }
      } while (due.length === BATCH);
    },
  };
}
