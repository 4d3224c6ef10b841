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
} from "../data/documents.ts";
import { removeFromOutboxByDocument } from "../data/outbox.ts";
import type { User } from "../data/users.ts";
import { AppError, unavailable } from "../errors.ts";
import type { Logger } from "../log.ts";
import { BlobNotFound, type ByteRange, type Storage } from "../storage/storage.ts";
import { type Actor, record } from "./audit.ts";
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
  erasure,
  log,
  now,
}: {
  database: Database;
  storage: Storage;
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

  return {
    get: (docId: number, caller: User) => getVisible(database, docId, caller),

    /** All that is known of how it was processed; no `result` until a worker has written one. */
    async processing(docId: number): Promise<{ stages: Stage[]; result: OcrResult | undefined }> {
      const stages = await listStages(database, docId);
      return { stages, result: await findOcrResult(database, docId) };
    },

    /** 404 also when the bytes are gone from the storage; 503 when the storage can't be reached. */
    async download(docId: number, caller: User): Promise<Download> {
      const document = await getVisible(database, docId, caller);
      const key = blobKeyOf(document);
      const properties = await fromStorage(log, docId, () => storage.properties(key));
      return {
        filename: document.filename,
        contentType: document.contentType ?? properties.contentType ?? "application/octet-stream",
        size: properties.size,
        tag: document.sha256 ?? properties.etag.replace(/^W\/|"/g, ""),
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
        const blobKey = blobKeyOf(document);
        await removeFromOutboxByDocument(tx, docId);
        if (!(await deleteDocument(tx, docId))) throw documentNotFound();
        const deletionId = await insertDeletion(tx, { docId, blobKey, dueAt: now() });
        await record(tx, "document_delete", actor, docId, now(), {
          filename: document.filename,
          path: document.path,
          status: document.status,
          sha256: document.sha256,
        });
        return { deletionId, docId, blobKey };
      };
      await erasure.erase(await removing("document", () => database.transaction(rows)));
    },
  };
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
