import { createHash, randomUUID } from "node:crypto";
import type { ContentStore } from "../content/content-store.ts";
import { InvalidBlobKey } from "../storage/keys.ts";
import { BlobNotFound, type BlobProperties, type Storage } from "../storage/storage.ts";

const OWN_KEY = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\//;
/** Hashes that are remembered. */
const MAX_HASHES = 1_000;

/** A new key, `<uuid>/<filename>`. What an upload stores there is never overwritten. */
export function newBlobKey(filename: string): string {
  return `${randomUUID()}/${filename}`;
}

/** Whether `newBlobKey` made the key. Others are the reference system's or a worker's. */
export function isOwnKey(key: string): boolean {
  return OWN_KEY.test(key);
}

/** A blob that is there. */
export interface FoundBlob extends BlobProperties {
  /** SHA-256 in hex: reads the blob, once for each version of it. */
  hash(): Promise<string>;
}

/**
 * Finds blobs that a worker of the platform moved. It names them by category and file name and
 * overwrites what is there, so that only its bytes prove whose a moved blob is.
 */
export class Blobs {
  readonly #storage: Storage;
  readonly #content: ContentStore;
  /** By entity tag and key. */
  readonly #hashes = new Map<string, string>();

  constructor(parts: { storage: Storage; content: ContentStore }) {
    this.#storage = parts.storage;
    this.#content = parts.content;
  }

  /** Where the document's text says that its blob is; undefined when there is none. */
  async movedTo(docId: number): Promise<string | undefined> {
    return (await this.#content.get(docId))?.blob_path || undefined;
  }

  /** The blob at a key or URL; undefined where there is none. */
  async find(keyOrUrl: string): Promise<FoundBlob | undefined> {
    try {
      const properties = await this.#storage.properties(keyOrUrl);
      return { ...properties, hash: () => this.#hash(keyOrUrl, properties.etag) };
    } catch (error) {
      if (error instanceof BlobNotFound || error instanceof InvalidBlobKey) return undefined;
      throw error;
    }
  }

  async #hash(key: string, etag: string): Promise<string> {
    const version = `${etag} ${key}`;
    const known = this.#hashes.get(version);
    if (known !== undefined) return known;
    const hash = createHash("sha256");
    for await (const chunk of await this.#storage.downloadStream(key)) hash.update(chunk);
    const hex = hash.digest("hex");
    if (this.#hashes.size >= MAX_HASHES) this.#hashes.clear();
    this.#hashes.set(version, hex);
    return hex;
  }
}
