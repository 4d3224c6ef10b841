import type { Database, Queryable } from "../data/database.ts";
import { type Deletion, insertDeletion } from "../data/deletions.ts";
import { type Document, deleteDocument, findDocument, updateBlobKey } from "../data/documents.ts";
import { removeFromOutboxByDocument } from "../data/outbox.ts";
import type { User } from "../data/users.ts";
import { AppError, unavailable } from "../errors.ts";
import type { Logger } from "../log.ts";
import { BlobNotFound, type ByteRange, type Storage } from "../storage/storage.ts";
import { type Actor, record, SYSTEM } from "./audit.ts";
import { type Blobs, type FoundBlob, isOwnKey } from "./blobs.ts";
import type { Deletions } from "./deletions.ts";
import { ROOT } from "./paths.ts";
import { removing } from "./references.ts";
import { ADMIN_ROLE } from "./users.ts";

interface Parts {
  database: Database;
  storage: Storage;
  blobs: Blobs;
  deletions: Deletions;
  log: Logger;
  now: () => Date;
}

/** Stored documents: who may see them, their bytes, their end. */
export class Documents {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** 404 for a document that the caller may not see, as for one that does not exist. */
  async get(docId: number, caller: User): Promise<Document> {
    const document = await findDocument(this.#parts.database, docId);
    const visible = document?.uploadedByUserId === caller.userId || caller.roleId === ADMIN_ROLE;
    if (!document || !visible)
      throw new AppError("not_found", `Document with id ${docId} not found.`);
    return document;
  }

  /**
   * What a download needs before its first byte; `tag` is a strong entity tag, without quotes. 404
   * also when the bytes are gone from the storage, 503 when a part can't be reached.
   */
  async download(docId: number, caller: User) {
    const document = await this.get(docId, caller);
    const { key, blob } = await this.#read(docId, () => this.#locate(document));
    const known = blobKeyOf(document);
    if (key !== known) await this.#follow(docId, known, key);
    const { storage } = this.#parts;
    return {
      filename: document.filename,
      contentType: document.contentType ?? blob.contentType ?? "application/octet-stream",
      size: blob.size,
      tag: document.sha256 ?? blob.etag.replace(/^W\/|"/g, ""),
      open: (range?: ByteRange) => this.#read(docId, () => storage.downloadStream(key, range)),
    };
  }

  /** Notes who gets which bytes. */
  async recordDownload(docId: number, range: ByteRange, actor: Actor): Promise<void> {
    const { database, now } = this.#parts;
    await database.transaction((tx) =>
      record(tx, "document_download", actor, docId, now(), { ...range }),
    );
  }

  /**
   * Deletes the rows in one transaction, then the blob and the text; what can't be reached then is
   * removed later. 409 while the document is being worked on, unless `force`, and while a table
   * that this server does not know references it: then nothing is removed.
   */
  async remove(docId: number, options: { force: boolean }, actor: Actor): Promise<void> {
    const { database, deletions, now } = this.#parts;
    const deletion = await removing("document", () =>
      database.transaction((tx) => deleteRows(tx, docId, options, actor, now())),
    );
    await deletions.carryOut(deletion);
  }

  /**
   * The blob with the document's bytes: at its key, or where a worker moved it. Throws
   * `BlobNotFound` when neither is there, or what is there is not proven to be the document's.
   */
  async #locate(document: Document): Promise<{ key: string; blob: FoundBlob }> {
    const { blobs } = this.#parts;
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
  async #follow(docId: number, from: string, to: string): Promise<void> {
    const { database, now } = this.#parts;
    await database.transaction(async (tx) => {
      if (await updateBlobKey(tx, docId, from, to))
        await record(tx, "document_move", SYSTEM, docId, now(), { from, to });
    });
  }

  async #read<Result>(docId: number, read: () => Promise<Result>): Promise<Result> {
    try {
      return await read();
    } catch (error) {
      if (error instanceof AppError) throw error;
      if (!(error instanceof BlobNotFound)) throw unavailable("The storage", error);
      this.#parts.log.error("the blob of a document is missing", { doc_id: docId, error });
      const detail = `The file of document ${docId} is missing from the storage.`;
      throw new AppError("not_found", detail, { cause: error });
    }
  }
}

async function deleteRows(
  tx: Queryable,
  docId: number,
  { force }: { force: boolean },
  actor: Actor,
  now: Date,
): Promise<Deletion> {
  const document = await findDocument(tx, docId);
  if (!document) throw documentNotFound();
  const { filename, path, status, sha256 } = document;
  if (!force && (status === "Queued" || status === "Processing")) {
    const detail = `The document is ${status.toLowerCase()}; delete it with ?force=true.`;
    throw new AppError("conflict", detail);
  }
  await removeFromOutboxByDocument(tx, docId);
  if (!(await deleteDocument(tx, docId))) throw documentNotFound();
  await record(tx, "document_delete", actor, docId, now, { filename, path, status, sha256 });
  return insertDeletion(tx, { docId, blobKey: blobKeyOf(document), sha256 }, now);
}

const documentNotFound = () => new AppError("not_found", "Document not found");

/** Whether a blob that others may overwrite has the document's size and hash, as far as known. */
async function isOf({ fileSize, sha256 }: Document, blob: FoundBlob): Promise<boolean> {
  if (fileSize !== null && fileSize !== blob.size) return false;
  return sha256 === null || sha256 === (await blob.hash());
}

/** Documents of the reference system have no key: their blob lies at `full_path/filename`. */
function blobKeyOf({ blobKey, path, filename }: Document): string {
  return blobKey ?? (path === ROOT ? filename : `${path}/${filename}`);
}
