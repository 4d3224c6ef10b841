import { ForeignKeyViolation, type Queryable } from "../data/database.ts";
import { insertDeletion } from "../data/deletions.ts";
import {
  type Document,
  deleteDocument,
  findDocument,
  lockDocument,
  updateBlobKey,
} from "../data/documents.ts";
import type { User } from "../data/users.ts";
import { AppError, unavailable } from "../errors.ts";
import { BlobNotFound, type ByteRange } from "../storage/storage.ts";
import { SYSTEM } from "./audit.ts";
import { ADMIN_ROLE, badAccessToken, type Caller, type Core } from "./authority.ts";
import { type FoundBlob, isOwnKey } from "./blobs.ts";
import type { Deletions, Stores } from "./deletions.ts";
import { ROOT } from "./paths.ts";

interface Parts extends Core, Stores {
  deletions: Deletions;
}

export type Documents = ReturnType<typeof createDocuments>;

export function createDocuments(parts: Parts) {
  const { database, authority, audit, storage, content, deletions, now } = parts;

  /**
   * A document and its blob, which is followed where it was moved. 404 also when the bytes are gone
   * from the storage, 503 when a part can't be reached.
   */
  async function locate(caller: Caller, docId: number) {
    const document = await getVisible(database, caller.user, docId);
    const from = blobKeyOf(document);
    const { key, blob } = await reading(parts, docId, findBlobOf(parts, document));
    if (key !== from)
      await authority.act(caller, "active", async (tx) => {
        if (await updateBlobKey(tx, docId, from, key))
          await audit.record(tx, "document_move", SYSTEM, docId, { from, to: key });
      });
    return { document, key, blob };
  }

  return {
    /** 404 also for a document that the user may not see. */
    get: (user: User, docId: number) => getVisible(database, user, docId),

    locate,

    /** What a worker made of a document; 404 also before there is anything. */
    async text(user: User, docId: number) {
      const document = await getVisible(database, user, docId);
      const text = await content.get(docId);
      if (text) return { document, text };
      throw new AppError("not_found", `Document with id ${docId} has no text yet.`);
    },

    /** What a download needs, as `locate`; `tag` is a strong entity tag, without quotes. */
    async download(caller: Caller, docId: number) {
      const { document, key, blob } = await locate(caller, docId);
      return {
        filename: document.filename,
        contentType: document.contentType ?? blob.contentType ?? "application/octet-stream",
        size: blob.size,
        tag: document.sha256 ?? blob.etag.replace(/^W\/|"/g, ""),
        open: (range?: ByteRange) => reading(parts, docId, storage.downloadStream(key, range)),
      };
    },

    /**
     * Notes who gets which bytes. It changes nothing else, and the guard has just asked who may;
     * 401 when they were deleted since.
     */
    recordDownload: (caller: Caller, docId: number, range: ByteRange): Promise<void> =>
      audit
        .record(database, "document_download", caller, docId, { ...range })
        .catch((error: unknown) => {
          throw error instanceof ForeignKeyViolation ? badAccessToken(error) : error;
        }),

    /**
     * Deletes the rows, then the blob and the text, or later if they can't be reached. 409 while
     * the document is being worked on, unless `force`.
     */
    async remove(caller: Caller, docId: number, { force }: { force: boolean }): Promise<void> {
      const deletion = await authority.remove("document", caller, async (tx) => {
        // First: then nobody queues it again.
        await lockDocument(tx, docId);
        const document = await findDocument(tx, docId);
        if (!document) throw new AppError("not_found", "Document not found");
        const { filename, path, status, sha256 } = document;
        if (!force && (status === "Queued" || status === "Processing")) {
          const detail = `The document is ${status.toLowerCase()}; delete it with ?force=true.`;
          throw new AppError("conflict", detail);
        }
        await deleteDocument(tx, docId);
        const details = { filename, path, status, sha256 };
        await audit.record(tx, "document_delete", caller, docId, details);
        return insertDeletion(tx, { docId, blobKey: blobKeyOf(document), sha256 }, now());
      });
      await deletions.carryOut(deletion);
    },
  };
}

/** 404 when the bytes of a document are gone, 503 when the storage can't be reached. */
async function reading<Result>(parts: Parts, docId: number, read: Promise<Result>) {
  try {
    return await read;
  } catch (error) {
    if (error instanceof AppError) throw error;
    if (!(error instanceof BlobNotFound)) throw unavailable("The storage", error);
    if (!(await findDocument(parts.database, docId))) throw notFound(docId);
    parts.log.error("the blob of a document is missing", { doc_id: docId, error });
    const detail = `The file of document ${docId} is missing from the storage.`;
    throw new AppError("not_found", detail, { cause: error });
  }
}

/** Their own documents; an admin's are all. */
export function isVisible(user: User, { uploadedByUserId }: Document): boolean {
  return uploadedByUserId === user.userId || user.roleId === ADMIN_ROLE;
}

/** 404 also for a document that the user may not see. */
export async function getVisible(q: Queryable, user: User, docId: number): Promise<Document> {
  const document = await findDocument(q, docId);
  if (document && isVisible(user, document)) return document;
  throw notFound(docId);
}

const notFound = (docId: number) =>
  new AppError("not_found", `Document with id ${docId} not found.`);

/** The blob at its key, or where a worker moved it. `BlobNotFound` unless its bytes are proven. */
export async function findBlobOf({ content, findBlob }: Stores, document: Document) {
  const key = blobKeyOf(document);
  const blob = await findBlob(key);
  if (blob && (isOwnKey(key) || (await isOf(document, blob)))) return { key, blob };
  const moved = (await content.get(document.docId))?.blob_path;
  if (moved && document.sha256 !== null) {
    const there = await findBlob(moved);
    if (there && (await isOf(document, there))) return { key: moved, blob: there };
  }
  throw new BlobNotFound(`Not at ${key}, and not proven to be at ${moved || "another key"}`);
}

/** Whether a blob has the document's size and hash, as far as they are known. */
async function isOf({ fileSize, sha256 }: Document, blob: FoundBlob): Promise<boolean> {
  if (fileSize !== null && fileSize !== blob.size) return false;
  return sha256 === null || sha256 === (await blob.hash());
}

/** Documents of the reference system have no key: their blob lies at `full_path/filename`. */
function blobKeyOf({ blobKey, path, filename }: Document): string {
  return blobKey ?? (path === ROOT ? filename : `${path}/${filename}`);
}
