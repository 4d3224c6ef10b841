import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import {
  ForeignKeyViolation,
  OutcomeUnknown,
  type Queryable,
  UniqueViolation,
} from "../data/database.ts";
import {
  cancelDeletion,
  type Deletion,
  insertDeletion,
  postponeDeletions,
} from "../data/deletions.ts";
import { findPlace, insertDocument } from "../data/documents.ts";
import { AppError, unavailable } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import type { Caller, Core } from "./authority.ts";
import { newBlobKey } from "./blobs.ts";
import { type Deletions, LEASE } from "./deletions.ts";
import { documentName, fileType } from "./filenames.ts";
import type { FreeSpace } from "./free-space.ts";
import type { OcrQueue } from "./ocr-queue.ts";

/** Bytes that are in the storage and in no table yet. */
export interface StoredFile {
  filename: string;
  contentType: string;
  url: string;
  size: number;
  /** In hex. */
  sha256: string;
  /** Removes the blob unless the document is committed. */
  deletion: Deletion;
}

/** `full_path` is canonical. */
interface Metadata {
  full_path: string;
  description: string | null;
}

interface Parts extends Core {
  storage: Storage;
  deletions: Deletions;
  space: FreeSpace;
  queue: OcrQueue;
}

export type Uploads = ReturnType<typeof createUploads>;

/**
 * Receives files. What does not become a document leaves nothing behind: the blob of an upload that
 * is renewed no more is deleted, by any process. Clocks that differ by more than the lease less a
 * renewal's interval (15 s) fail uploads, and lose nothing.
 */
export function createUploads(parts: Parts) {
  const { database, authority, storage, deletions, space, queue, now } = parts;
  /** The deletions of the uploads that are running here. */
  const running = new Set<number>();
  const leaseEnd = () => new Date(now().getTime() + LEASE);
  let received = 0;

  return {
    /** Uploads that are running here, and the bytes of all files that came so far. */
    traffic: () => ({ running: running.size, bytes: received }),

    /** Renews the leases of the uploads that are running. */
    renew: () => postponeDeletions(database, [...running], leaseEnd()),

    /** Throws 507 where a body of `bytes`, 0 if that is not known, can't be stored. */
    admit: (bytes: number) => Promise.all([space.require(storage, bytes), space.require(database)]),

    /**
     * Streams a file into the storage. When the canonical path is known already, a missing path
     * (404) and a taken name (409) are told before a byte is stored.
     */
    async receive(
      file: { name: string; contentType: string; stream: Readable },
      path: string | undefined,
    ): Promise<StoredFile> {
      const { contentType } = file;
      const filename = documentName(file.name);
      if (path !== undefined) await claim(database, filename, path);
      const blob = { docId: null, blobKey: newBlobKey(filename), sha256: null };
      // After a power cut the blob may be there without its note: the sweep removes it then.
      const note = (tx: Queryable) => insertDeletion(tx, blob, leaseEnd());
      const deletion = await database.transaction(note, { durable: false });
      running.add(deletion.deletionId);
      const hash = createHash("sha256");
      let size = 0;
      // Paused: it is told of what the storage reads.
      file.stream.pause().on("data", (chunk: Buffer) => {
        hash.update(chunk);
        size += chunk.length;
        received += chunk.length;
      });
      try {
        const url = await storage.upload(file.stream, deletion.blobKey, { contentType });
        return { filename, contentType, url, size, sha256: hash.digest("hex"), deletion };
      } catch (error) {
        running.delete(deletion.deletionId);
        await deletions.carryOut(deletion);
        throw storageFailed(error);
      }
    },

    /**
     * Makes a received file a document. Returns its id, and its path as the database spells it.
     * When that fails the blob is removed, or at the end of its lease when nobody knows whether it
     * failed: the deletion is there if nothing was committed.
     */
    async finish(caller: Caller, file: StoredFile, meta: Metadata) {
      const { deletion } = file;
      const work = (tx: Queryable) => insert(tx, parts, caller, file, meta);
      const document = await authority
        .act(caller, "active", work)
        .catch(async (error) => {
          if (error instanceof AppError && error.cause instanceof OutcomeUnknown) throw error;
          await deletions.carryOut(deletion);
          if (error instanceof UniqueViolation) throw nameTaken();
          throw error instanceof ForeignKeyViolation ? pathMissing() : error;
        })
        .finally(() => running.delete(deletion.deletionId));
      queue.notify();
      return document;
    },
  };
}

async function insert(
  tx: Queryable,
  parts: Parts,
  caller: Caller,
  file: StoredFile,
  meta: Metadata,
): Promise<{ docId: number; path: string }> {
  const now = parts.now();
  const { url, size, deletion, ...stored } = file;
  const { filename, sha256 } = stored;
  const { pathId, fullPath: path } = await claim(tx, filename, meta.full_path);
  if (size === 0) throw new AppError("bad_request", "Uploaded file is empty");
  if (!(await cancelDeletion(tx, deletion.deletionId)))
    throw unavailable("The storage", new Error("The lease of the upload has ended"));

  const document = {
    ...stored,
    pathId,
    uploadedByUserId: caller.userId,
    uploadedAt: now,
    fileSize: size,
    fileType: fileType(filename),
    description: meta.description,
    blobKey: deletion.blobKey,
  };
  const docId = await insertDocument(tx, document, parts.queue.stages);
  await parts.queue.add(tx, { ...document, docId }, url, now);
  const details = { filename, path, size, sha256 };
  await parts.audit.record(tx, "document_upload", caller, docId, details);
  return { docId, path };
}

/** The path, when it exists (404) and the name is free in it (409). */
async function claim(q: Queryable, filename: string, fullPath: string) {
  const place = await findPlace(q, filename, fullPath);
  if (!place) throw pathMissing();
  if (place.takenBy !== null) throw nameTaken();
  return place;
}

const pathMissing = () => new AppError("not_found", "Provided path doesn't exist.");

const nameTaken = () =>
  new AppError("conflict", "A document with this filename already exists at the specified path.");

const storageFailed = (cause: unknown) =>
  new AppError("internal", "Storage upload failed", { cause });
