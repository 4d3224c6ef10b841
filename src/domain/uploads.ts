import { createHash, randomUUID } from "node:crypto";
import { pipeline, type Readable, Transform } from "node:stream";
import {
  type Database,
  ForeignKeyViolation,
  type Queryable,
  UniqueViolation,
} from "../data/database.ts";
import { cancelDeletion, insertDeletion } from "../data/deletions.ts";
import { documentNameTaken, insertDocument, OCR_STAGE } from "../data/documents.ts";
import { addToOutbox } from "../data/outbox.ts";
import { findPathByName, type VirtualPath } from "../data/paths.ts";
import { findUser } from "../data/users.ts";
import { AppError } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import { type Actor, record } from "./audit.ts";
import { newBlobKey } from "./blobs.ts";
import type { Erasure } from "./erasure.ts";
import { documentName, fileType } from "./filenames.ts";
import { PENDING_ACCOUNT } from "./users.ts";

/** How long an upload may take before its blob counts as left behind, and how long before that no commit may rescue it: milliseconds. */
const GRACE = 24 * 60 * 60 * 1000;
const MARGIN = 60 * 60 * 1000;

/** The stages that each worker of the platform expects to find, one row each. */
const STAGES = { ocr_api: [OCR_STAGE], ai_foundry: [OCR_STAGE, "Classification"] } as const;

/** Bytes that are in the storage and in no table yet. */
export interface StoredFile {
  filename: string;
  contentType: string;
  blobKey: string;
  url: string;
  /** Bytes. */
  size: number;
  /** 64 hexadecimal digits. */
  sha256: string;
  /** What removes the blob unless the document is committed. */
  deletionId: number;
}

export interface UploadedDocument extends StoredFile {
  docId: number;
  path: string;
  description: string | null;
}

export type Uploads = ReturnType<typeof createUploads>;

/** Receives files: `receive` stores the bytes, `finish` makes them a document, or leaves nothing behind. */
export function createUploads({
  database,
  storage,
  erasure,
  backend,
  queueName,
  onQueued,
  now,
}: {
  database: Database;
  storage: Storage;
  erasure: Erasure;
  /** Which worker is fed. */
  backend: keyof typeof STAGES;
  queueName: string;
  /** Called when a message was committed to the outbox. */
  onQueued: () => void;
  now: () => Date;
}) {
  const discard = ({ deletionId, blobKey }: Pick<StoredFile, "deletionId" | "blobKey">) =>
    erasure.erase({ deletionId, docId: null, blobKey, sha256: null });

  return {
    /** Removes what `receive` stored. */
    discard,

    /**
     * Streams a file into the storage in constant memory. When the canonical path is known already, a missing path (404) and
     * a taken name (409) are told before a byte is stored.
     */
    async receive(
      file: { name: string; contentType: string; stream: Readable },
      path: string | undefined,
    ): Promise<StoredFile> {
      const filename = documentName(file.name);
      if (path !== undefined) await claim(database, filename, path);
      const blobKey = newBlobKey(filename);
      const dueAt = new Date(now().getTime() + GRACE);
      const deletionId = await insertDeletion(database, {
        docId: null,
        blobKey,
        sha256: null,
        dueAt,
      });
      const meter = meterBytes();
      // Whichever stream fails takes the other with it; what failed is told by the promise of the upload.
      pipeline(file.stream, meter.stream, () => {});
      try {
        const url = await storage.upload(meter.stream, blobKey, { contentType: file.contentType });
        return {
          filename,
          contentType: file.contentType,
          blobKey,
          url,
          ...meter.result(),
          deletionId,
        };
      } catch (error) {
        await discard({ deletionId, blobKey });
        throw new AppError("internal", "Storage upload failed", { cause: error });
      }
    },

    /**
     * Writes the document, its status, its message and its audit row in one transaction. When that fails for good the blob
     * is removed at once; when the outcome is unknown (the database went away) its deletion stays, if nothing was committed.
     */
    async finish(
      stored: StoredFile,
      meta: { path: string; description: string | null },
      actor: Actor & { userId: number },
    ): Promise<UploadedDocument> {
      try {
        const document = await database.transaction(async (tx) => {
          const user = await findUser(tx, actor.userId);
          if (!user?.isActive) throw new AppError("forbidden", PENDING_ACCOUNT);
          const path = await claim(tx, stored.filename, meta.path);
          if (stored.size === 0) throw new AppError("bad_request", "Uploaded file is empty");
          if (!(await cancelDeletion(tx, stored.deletionId, new Date(now().getTime() + MARGIN)))) {
            throw new AppError("internal", "Storage upload failed", {
              cause: new Error("It took too long"),
            });
          }
          return insert(tx, stored, path, meta.description, actor);
        });
        onQueued();
        return document;
      } catch (error) {
        const failure = translate(error);
        if (!(failure instanceof AppError && failure.code === "unavailable")) await discard(stored);
        throw failure;
      }
    },
  };

  async function insert(
    tx: Queryable,
    stored: StoredFile,
    path: VirtualPath,
    description: string | null,
    actor: Actor & { userId: number },
  ): Promise<UploadedDocument> {
    const document = {
      filename: stored.filename,
      pathId: path.pathId,
      uploadedByUserId: actor.userId,
      uploadedAt: now(),
      fileSize: stored.size,
      contentType: stored.contentType,
      fileType: fileType(stored.filename),
      description,
      sha256: stored.sha256,
      blobKey: stored.blobKey,
    };
    const docId = await insertDocument(tx, document, STAGES[backend]);
    const message = {
      doc_id: docId,
      file_path: stored.url,
      filename: stored.filename,
      user_id: actor.userId,
    };
    await addToOutbox(
      tx,
      { doc_id: docId, queue: queueName, message_id: randomUUID(), body: JSON.stringify(message) },
      now(),
    );
    await record(tx, "document_upload", actor, docId, now(), {
      filename: stored.filename,
      path: path.fullPath,
      size: stored.size,
      sha256: stored.sha256,
    });
    return { ...stored, docId, path: path.fullPath, description };
  }
}

/** The path, when it exists (404) and the name is free in it (409). */
async function claim(q: Queryable, filename: string, fullPath: string): Promise<VirtualPath> {
  const path = await findPathByName(q, fullPath);
  if (!path) throw pathMissing();
  if (await documentNameTaken(q, filename, path.pathId)) throw nameTaken();
  return path;
}

/** What two uploads that race, or a path deleted meanwhile, make of the transaction. */
function translate(error: unknown): unknown {
  if (error instanceof UniqueViolation) return nameTaken();
  if (error instanceof ForeignKeyViolation) return pathMissing();
  return error;
}

function pathMissing(): AppError {
  return new AppError("not_found", "Provided path doesn't exist.");
}

function nameTaken(): AppError {
  return new AppError(
    "conflict",
    "A document with this filename already exists at the specified path.",
  );
}

/** A stream that passes bytes on and knows their number and SHA-256 when they have all gone by. */
function meterBytes() {
  const hash = createHash("sha256");
  let size = 0;
  const stream = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      size += chunk.length;
      done(null, chunk);
    },
  });
  return { stream, result: () => ({ size, sha256: hash.digest("hex") }) };
}
