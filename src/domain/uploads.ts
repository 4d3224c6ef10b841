import { createHash, randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import {
  type Database,
  ForeignKeyViolation,
  type Queryable,
  UniqueViolation,
} from "../data/database.ts";
import { cancelDeletion, type Deletion, insertDeletion } from "../data/deletions.ts";
import { documentNameTaken, insertDocument, OCR_STAGE } from "../data/documents.ts";
import { addToOutbox } from "../data/outbox.ts";
import { findPathByName, type VirtualPath } from "../data/paths.ts";
import { findUser } from "../data/users.ts";
import { AppError } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import { type Actor, record } from "./audit.ts";
import { newBlobKey } from "./blobs.ts";
import type { Deletions } from "./deletions.ts";
import { documentName, fileType } from "./filenames.ts";
import { PENDING_ACCOUNT } from "./users.ts";

/** Milliseconds: an upload that takes longer counts as left behind, and its blob is deleted. */
const GRACE = 24 * 60 * 60 * 1000;
/** Milliseconds before that from which on no commit may rescue the blob: clocks differ. */
const MARGIN = 60 * 60 * 1000;

/** The stages that each worker of the platform expects to find, one row each. */
const STAGES = { ocr_api: [OCR_STAGE], ai_foundry: [OCR_STAGE, "Classification"] } as const;

/** Bytes that are in the storage and in no table yet. */
export interface StoredFile {
  filename: string;
  contentType: string;
  url: string;
  /** Bytes. */
  size: number;
  /** 64 hexadecimal digits. */
  sha256: string;
  /** What removes the blob unless the document is committed. */
  deletion: Deletion;
}

/** What comes with a file; `full_path` is a canonical virtual path. */
interface Metadata {
  full_path: string;
  description: string | null;
}

interface Parts {
  database: Database;
  storage: Storage;
  deletions: Deletions;
  /** Which worker is fed. */
  backend: keyof typeof STAGES;
  queueName: string;
  /** Called when a message was committed to the outbox. */
  onQueued: () => void;
  now: () => Date;
}

/** Receives files. What does not become a document leaves nothing behind. */
export class Uploads {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /**
   * Streams a file into the storage in constant memory. When the canonical path is known already, a
   * missing path (404) and a taken name (409) are told before a byte is stored.
   */
  async receive(
    file: { name: string; contentType: string; stream: Readable },
    path: string | undefined,
  ): Promise<StoredFile> {
    const { database, storage, now } = this.#parts;
    const { contentType } = file;
    const filename = documentName(file.name);
    if (path !== undefined) await claim(database, filename, path);
    const blob = { docId: null, blobKey: newBlobKey(filename), sha256: null };
    const deletion = await insertDeletion(database, blob, new Date(now().getTime() + GRACE));
    const hash = createHash("sha256");
    let size = 0;
    async function* metered() {
      for await (const chunk of file.stream) {
        hash.update(chunk);
        size += chunk.length;
        yield chunk;
      }
    }
    const stream = Readable.from(metered(), { objectMode: false });
    // The upload tells what fails.
    stream.on("error", () => {});
    try {
      const url = await storage.upload(stream, deletion.blobKey, { contentType });
      return { filename, contentType, url, size, sha256: hash.digest("hex"), deletion };
    } catch (error) {
      await this.#discard({ deletion });
      throw storageFailed(error);
    }
  }

  /** Removes what `receive` stored. */
  #discard({ deletion }: Pick<StoredFile, "deletion">): Promise<void> {
    return this.#parts.deletions.carryOut(deletion);
  }

  /**
   * Makes a received file a document: its rows, its message and its audit row in one transaction.
   * Returns its id, and its path as the database spells it. When that fails the blob is removed,
   * unless nobody knows the outcome: then its deletion stays noted, if nothing was committed.
   */
  async finish(
    file: StoredFile,
    meta: Metadata,
    actor: Actor & { userId: number },
  ): Promise<{ docId: number; path: string }> {
    try {
      const { database } = this.#parts;
      const document = await database.transaction((tx) => this.#insert(tx, file, meta, actor));
      this.#parts.onQueued();
      return document;
    } catch (error) {
      if (error instanceof AppError && error.code === "unavailable") throw error;
      await this.#discard(file);
      if (error instanceof UniqueViolation) throw nameTaken();
      throw error instanceof ForeignKeyViolation ? pathMissing() : error;
    }
  }

  async #insert(
    tx: Queryable,
    file: StoredFile,
    meta: Metadata,
    actor: Actor & { userId: number },
  ): Promise<{ docId: number; path: string }> {
    const { backend, queueName } = this.#parts;
    const now = this.#parts.now();
    const { filename, contentType, size, sha256, deletion } = file;
    const user = await findUser(tx, actor.userId);
    if (!user?.isActive) throw new AppError("forbidden", PENDING_ACCOUNT);
    const { pathId, fullPath: path } = await claim(tx, filename, meta.full_path);
    if (size === 0) throw new AppError("bad_request", "Uploaded file is empty");
    const latest = new Date(now.getTime() + MARGIN);
    if (!(await cancelDeletion(tx, deletion.deletionId, latest)))
      throw storageFailed(new Error("It took too long"));

    const document = {
      filename,
      pathId,
      uploadedByUserId: actor.userId,
      uploadedAt: now,
      fileSize: size,
      contentType,
      fileType: fileType(filename),
      description: meta.description,
      sha256,
      blobKey: deletion.blobKey,
    };
    const docId = await insertDocument(tx, document, STAGES[backend]);
    const body = { doc_id: docId, file_path: file.url, filename, user_id: actor.userId };
    const message = { queue: queueName, message_id: randomUUID(), body: JSON.stringify(body) };
    await addToOutbox(tx, { doc_id: docId, ...message }, now);
    await record(tx, "document_upload", actor, docId, now, { filename, path, size, sha256 });
    return { docId, path };
  }
}

/** The path, when it exists (404) and the name is free in it (409). */
async function claim(q: Queryable, filename: string, fullPath: string): Promise<VirtualPath> {
  const path = await findPathByName(q, fullPath);
  if (!path) throw pathMissing();
  if (await documentNameTaken(q, filename, path.pathId)) throw nameTaken();
  return path;
}

const pathMissing = () => new AppError("not_found", "Provided path doesn't exist.");

const nameTaken = () =>
  new AppError("conflict", "A document with this filename already exists at the specified path.");

const storageFailed = (cause: unknown) =>
  new AppError("internal", "Storage upload failed", { cause });
