import type { ContentStore } from "../content/content-store.ts";
import type { Database } from "../data/database.ts";
import { type Deletion, listDueDeletions, removeDeletion } from "../data/deletions.ts";
import { documentHasBytes } from "../data/documents.ts";
import type { Logger } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import { type Blobs, isOwnKey } from "./blobs.ts";

/** Deletions read at once. */
const BATCH = 100;

interface Parts {
  database: Database;
  storage: Storage;
  content: ContentStore;
  blobs: Blobs;
  log: Logger;
  now: () => Date;
}

/**
 * Removes blobs and texts that no row names any more. The table `Deletions` remembers them until
 * they are gone, whatever is down meanwhile: a deleted document's since its rows went, an upload's
 * since before its first byte, until its commit takes that back.
 */
export class Deletions {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Failing, it logs why and leaves the deletion for later. */
  async carryOut(deletion: Deletion): Promise<void> {
    const { database, content, blobs, log } = this.#parts;
    const { deletionId, docId, blobKey } = deletion;
    try {
      await this.#removeBlob(blobKey, deletion);
      if (docId !== null) {
        const moved = await blobs.movedTo(docId);
        if (moved !== undefined) await this.#removeBlob(moved, deletion);
        await content.delete(docId);
      }
      await removeDeletion(database, deletionId);
    } catch (error) {
      const what = { blob_key: blobKey, doc_id: docId, error };
      log.warn("a blob or a text will be removed later", what);
    }
  }

  /** Carries out every deletion that is due; ends early when `signal` is aborted. */
  async carryOutDue(signal: AbortSignal): Promise<void> {
    const { database, now } = this.#parts;
    let deletions: Deletion[] = [];
    do {
      const afterId = deletions.at(-1)?.deletionId ?? 0;
      deletions = await listDueDeletions(database, { now: now(), afterId, limit: BATCH });
      for (const deletion of deletions) {
        if (signal.aborted) return;
        await this.carryOut(deletion);
      }
    } while (deletions.length === BATCH);
  }

  /** Where others may overwrite, only bytes go that are the deleted document's and no other's. */
  async #removeBlob(key: string, { docId, blobKey, sha256 }: Deletion): Promise<void> {
    const { database, storage, blobs, log } = this.#parts;
    if (key !== blobKey || !isOwnKey(key)) {
      const hash = await (await blobs.find(key))?.hash();
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
}
