import type { Readable } from "node:stream";
import type { Database, Queryable } from "../data/database.ts";
import { insertDeletion } from "../data/deletions.ts";
import {
  type Document,
  deleteDocument,
  findDocument,
  findOcrResult,
  listStages,
  type OcrResult,
  type Stage,
  updateBlobKey,
} from "../data/documents.ts";
import { removeFromOutboxByDocument } from "../data/outbox.ts";
import type { User } from "../data/users.ts";
import { AppError, unavailable } from "../errors.ts";
import type { Logger } from "../log.ts";
import { BlobNotFound, type ByteRange, type Storage } from "../storage/storage.ts";
import { type Actor, record, SYSTEM } from "./audit.ts";
import { type Blobs, type FoundBlob, isOwnKey } from "./blobs.ts";
import type { Erasure } from "./erasure.ts";
import { ROOT } from "./paths.ts";
import { removing } from "./references.ts";
import { ADMIN_ROLE } from "./users.ts";

/** What a download needs before its first byte. */
export interface Download {
  filename: string;
  contentType: string;
  /** Bytes. */
  size: number;
  /** Strong: it changes with the bytes. Without quotes. */
  tag: string;
  open(range?: ByteRange): Promise<Readable>;
}

export type Documents = ReturnType<typeof createDocuments>;

/** Stored documents: who may see them, their bytes, their end. */
export function createDocuments({
  database,
  storage,
  blobs,
  erasure,
  log,
  now,
}: {
  database: Database;
  storage: Storage;
  blobs: Blobs;
  erasure: Erasure;
  log: Logger;
  now: () => Date;
}) {
  /** A document that the caller may not see is a 404 like one that does not exist. */
  async function getVisible(q: Queryable, docId: number, caller: User): Promise<Document> {
    const document = await findDocument(q, docId);
    const visible = document?.uploadedByUserId === caller.userId || caller.roleId === ADMIN_ROLE;
    if (!document || !visible)
      throw new AppError("not_found", `Document with id ${docId} not found.`);
    return document;
  }

  /**
   * The blob with the document's bytes: at its key, or where a worker moved it. Throws `BlobNotFound`
   * when neither is there, or what is there is not proven to be the document's.
   */
  async function locate(document: Document): Promise<{ key: string; blob: FoundBlob }> {
    const key = blobKeyOf(document);
    const blob = await blobs.find(key);
    if (blob && (isOwnKey(key) || (await isOf(document, blob)))) return { key, blob };
    const moved = await blobs.movedTo(document.docId);
    if (moved !== undefined && document.sha256 !== null) {
      const there = await blobs.find(moved);
      if (there && (await isOf(document, there))) return { key: moved, blob: there };
    }
    throw new BlobNotFound(`Not at ${key}, and not proven to be at ${moved ?? "another key"}`);
  }

  /** Remembers where a worker moved the blob. */
  async function follow({ docId }: Document, from: string, to: string): Promise<void> {
    await database.transaction(async (tx) => {
      if (await updateBlobKey(tx, docId, from, to))
        await record(tx, "document_move", SYSTEM, docId, now(), { from, to });
    });
  }

  return {
    get: (docId: number, caller: User) => getVisible(database, docId, caller),

    /** All that is known of how it was processed; no `result` until a worker has written one. */
    async processing(docId: number): Promise<{ stages: Stage[]; result: OcrResult | undefined }> {
      const stages = await listStages(database, docId);
      return { stages, result: await findOcrResult(database, docId) };
    },

    /** 404 also when the bytes are gone from the storage; 503 when a part can't be reached. */
    async download(docId: number, caller: User): Promise<Download> {
      const document = await getVisible(database, docId, caller);
      const { key, blob } = await fromStorage(log, docId, () => locate(document));
      const known = blobKeyOf(document);
      if (key !== known) await follow(document, known, key);
      return {
        filename: document.filename,
        contentType: document.contentType ?? blob.contentType ?? "application/octet-stream",
        size: blob.size,
        tag: document.sha256 ?? blob.etag.replace(/^W\/|"/g, ""),
        open: (range) => fromStorage(log, docId, () => storage.downloadStream(key, range)),
      };
    },

    /** Notes who gets which bytes. */
    recordDownload: (docId: number, range: ByteRange, actor: Actor) =>
      database.transaction((tx) =>
        record(tx, "document_download", actor, docId, now(), { ...range }),
      ),

    /**
     * Deletes the rows in one transaction, then the blob and the text; what can't be reached then is
     * removed later. 409 while the document is being worked on, unless `force`, and while a table
     * that this server does not know references it: then nothing is removed.
     */
    async remove(docId: number, options: { force: boolean }, actor: Actor): Promise<void> {
      const rows = async (tx: Queryable) => {
        const document = await findDocument(tx, docId);
        if (!document) throw documentNotFound();
        if (!options.force && (document.status === "Queued" || document.status === "Processing")) {
          throw new AppError(
            "conflict",
            `The document is ${document.status.toLowerCase()}; delete it with ?force=true.`,
          );
        }
        const { sha256 } = document;
        const blobKey = blobKeyOf(document);
        await removeFromOutboxByDocument(tx, docId);
        if (!(await deleteDocument(tx, docId))) throw documentNotFound();
        const deletionId = await insertDeletion(tx, { docId, blobKey, sha256, dueAt: now() });
        await record(tx, "document_delete", actor, docId, now(), {
          filename: document.filename,
          path: document.path,
          status: document.status,
          sha256,
        });
        return { deletionId, docId, blobKey, sha256 };
      };
      await erasure.erase(await removing("document", () => database.transaction(rows)));
    },
  };
}

/** Whether a blob that others may overwrite has the document's size and hash, as far as known. */
async function isOf({ fileSize, sha256 }: Document, blob: FoundBlob): Promise<boolean> {
  if (fileSize !== null && fileSize !== blob.size) return false;
  return sha256 === null || sha256 === (await blob.hash());
}

const documentNotFound = () => new AppError("not_found", "Document not found");

/** Documents of the reference system have no key: their blob lies at `full_path/filename`. */
function blobKeyOf(document: Document): string {
  if (document.blobKey !== null) return document.blobKey;
  return document.path === ROOT ? document.filename : `${document.path}/${document.filename}`;
}

async function fromStorage<Result>(
  log: Logger,
  docId: number,
  read: () => Promise<Result>,
): Promise<Result> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof BlobNotFound) {
      log.error("the blob of a document is missing", { doc_id: docId, error });
      throw new AppError(
        "not_found",
        `The file of document ${docId} is missing from the storage.`,
        {
          cause: error,
        },
      );
    }
    throw error instanceof AppError ? error : unavailable("The storage", error);
  }
}
