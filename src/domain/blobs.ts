import { createHash, randomUUID } from "node:crypto";
import { InvalidBlobKey, OWN_KEY } from "../storage/keys.ts";
import { BlobNotFound, type BlobProperties, type Storage } from "../storage/storage.ts";

const MAX_HASHES = 1_000;

/** A new key, `<uuid>/<filename>`. A blob there is never overwritten. */
export function newBlobKey(filename: string): string {
  return `${randomUUID()}/${filename}`;
}

/** Whether `newBlobKey` made the key. Others are the reference system's or a worker's. */
export function isOwnKey(key: string): boolean {
  return OWN_KEY.test(key);
}

export interface FoundBlob extends BlobProperties {
  /** SHA-256 in hex: reads the blob, once for each version of it. */
  hash(): Promise<string>;
}

export type FindBlob = ReturnType<typeof createBlobFinder>;

/** Finds the blob at a key or URL; undefined where there is none. */
export function createBlobFinder(storage: Storage) {
  /** By entity tag and key. */
  const hashes = new Map<string, string>();

  async function hashOf(key: string, etag: string): Promise<string> {
    const version = `${etag} ${key}`;
    const known = hashes.get(version);
    if (known !== undefined) return known;
    const hash = createHash("sha256");
    for await (const chunk of await storage.downloadStream(key)) hash.update(chunk);
    const hex = hash.digest("hex");
    if (hashes.size >= MAX_HASHES) hashes.clear();
    hashes.set(version, hex);
    return hex;
  }

  return async (key: string): Promise<FoundBlob | undefined> => {
    try {
      const properties = await storage.properties(key);
      return { ...properties, hash: () => hashOf(key, properties.etag) };
    } catch (error) {
      if (error instanceof BlobNotFound || error instanceof InvalidBlobKey) return undefined;
      throw error;
    }
  };
}
