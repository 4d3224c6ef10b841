import type { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { InvalidBlobKey, isKey, isUrl } from "./keys.ts";

export interface BlobProperties {
  /** Bytes. */
  size: number;
  /** As given at upload; undefined where the store keeps none. */
  contentType: string | undefined;
  lastModified: Date;
  etag: string;
}

/** First and last byte, both included (RFC 9110 §14.1.2): 0 <= start <= end. */
export interface ByteRange {
  start: number;
  end: number;
}

/**
 * Immutable blobs by key. `keyOrUrl` is a key or the URL that `upload` returned; anything else
 * throws `InvalidBlobKey` (see `keys.ts`). Reading what is missing throws `BlobNotFound`; deleting
 * it is fine. Other failures are the `unavailable` AppError or the store's own error.
 */
export abstract class Storage {
  /** For the `ready` line, without secrets. */
  abstract readonly description: string;

  /**
   * In constant memory; returns the URL. Throws `BlobExists` rather than overwrite. A failure
   * leaves no blob, and destroys the stream.
   */
  async upload(stream: Readable, key: string, options?: { contentType?: string }): Promise<string> {
    // It may fail before it is read, which tells of it then.
    stream.on("error", () => {});
    try {
      if (!isKey(key)) throw new InvalidBlobKey("This is not a blob key");
      await this.store(stream, key, options?.contentType);
      return this.url(key);
    } catch (error) {
      stream.destroy();
      throw error;
    }
  }

  /** The URL that `upload` returned for a key. */
  abstract url(keyOrUrl: string): string;

  async download(keyOrUrl: string): Promise<Buffer> {
    return buffer(await this.downloadStream(keyOrUrl));
  }

  /** A range starts before the blob's end and is cut there. */
  abstract downloadStream(keyOrUrl: string, range?: ByteRange): Promise<Readable>;
  abstract delete(keyOrUrl: string): Promise<void>;

  /** Deletes all blobs below a folder: of `a/b`, `a/b/c` but not `a/b` or `a/bc`. */
  async deleteDir(prefix: string): Promise<void> {
    const folder = this.keyOf(prefix.replace(/\/$/, ""));
    for await (const key of this.keys(`${folder}/`)) await this.delete(key);
  }

  async exists(keyOrUrl: string): Promise<boolean> {
    try {
      await this.properties(keyOrUrl);
      return true;
    } catch (error) {
      if (error instanceof BlobNotFound) return false;
      throw error;
    }
  }

  abstract properties(keyOrUrl: string): Promise<BlobProperties>;

  /** Keys that start with `prefix` (empty: all), sorted. */
  async list(prefix: string): Promise<string[]> {
    const all: string[] = [];
    for await (const key of this.keys(prefix)) all.push(key);
    return all.sort();
  }

  /** The same in no order and in constant memory, also while blobs come and go. */
  async *keys(prefix: string): AsyncGenerator<string> {
    const start = isUrl(prefix) ? this.keyOf(prefix) : prefix;
    if (isKey(`${start}x`)) yield* this.keysFrom(start);
  }

  /** Those of `list(prefix)` whose last segment contains `query`, in any case. */
  async find(query: string, prefix: string): Promise<string[]> {
    const nameOf = (key: string) => key.slice(key.lastIndexOf("/") + 1).toLowerCase();
    return (await this.list(prefix)).filter((key) => nameOf(key).includes(query.toLowerCase()));
  }

  /** One round trip; throws when the store can't be used. */
  abstract ping(): Promise<void>;
  /** Free for blobs, where a disk of this machine holds them. */
  freeBytes?(): Promise<number>;
  /**
   * Removes what uploads of dead processes left, an hour later, and `delete` of their keys at once;
   * names it. With `dryRun` it only names it.
   */
  removeUnfinished?(dryRun?: boolean): Promise<string[]>;
  async close(): Promise<void> {}

  protected keyOf(keyOrUrl: string): string {
    try {
      const key = isUrl(keyOrUrl) ? this.parseUrl(keyOrUrl) : keyOrUrl;
      if (key !== undefined && isKey(key)) return key;
    } catch {}
    throw new InvalidBlobKey("This is neither a blob key nor the URL of a blob of this storage");
  }

  /** The key in a URL of this store; undefined or a URIError for another. */
  protected abstract parseUrl(url: string): string | undefined;
  /** `upload` to a valid key. */
  protected abstract store(stream: Readable, key: string, contentType?: string): Promise<void>;
  /** `keys`, of a beginning that a key can have. */
  protected abstract keysFrom(start: string): AsyncIterable<string>;
}

export class BlobNotFound extends Error {
  override readonly name = "BlobNotFound";
}

export class BlobExists extends Error {
  override readonly name = "BlobExists";
}
