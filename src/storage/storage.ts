import type { Readable } from "node:stream";

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
export interface Storage {
  /** For the `ready` line, without secrets. */
  readonly description: string;
  /**
   * Stores `stream` in constant memory; returns the blob's URL. Throws `BlobExists` rather than
   * overwrite. A failure leaves no blob, and destroys the stream.
   */
  upload(stream: Readable, key: string, options?: { contentType?: string }): Promise<string>;
  /** The URL that `upload` returned for a key. */
  url(keyOrUrl: string): string;
  download(keyOrUrl: string): Promise<Buffer>;
  /** A range starts before the blob's end and is cut there. */
  downloadStream(keyOrUrl: string, range?: ByteRange): Promise<Readable>;
  delete(keyOrUrl: string): Promise<void>;
  /** Deletes all blobs below a folder: of `a/b`, `a/b/c` but not `a/b` or `a/bc`. */
  deleteDir(prefix: string): Promise<void>;
  exists(keyOrUrl: string): Promise<boolean>;
  properties(keyOrUrl: string): Promise<BlobProperties>;
  /** Keys that start with `prefix` (empty: all), sorted. */
  list(prefix: string): Promise<string[]>;
  /** The same in no order and in constant memory, also while blobs come and go. */
  keys(prefix: string): AsyncIterable<string>;
  /** Those of `list(prefix)` whose last segment contains `query`, in any case. */
  find(query: string, prefix: string): Promise<string[]>;
  /** One round trip; throws when the store can't be used. */
  ping(): Promise<void>;
  /** Free for blobs, where a disk of this machine holds them. */
  freeBytes?(): Promise<number>;
  /**
   * To be called every 5 s where it is there: claims this process's unfinished files anew, and
   * removes and names those that nobody has claimed for 20 s; with `dryRun` it only names them. An
   * upload that loses its file so fails.
   */
  renew?(dryRun?: boolean): Promise<string[]>;
  close(): Promise<void>;
}

export class BlobNotFound extends Error {
  override readonly name = "BlobNotFound";
}

export class BlobExists extends Error {
  override readonly name = "BlobExists";
}
