import type { Readable } from "node:stream";
import { AppError } from "../errors.ts";

export interface BlobProperties {
  /** Bytes. */
  size: number;
  /** The media type given at upload; undefined where the store keeps none. */
  contentType: string | undefined;
  lastModified: Date;
  etag: string;
}

/** First and last byte, both included, as in RFC 9110 §14.1.2: 0 <= start <= end. */
export interface ByteRange {
  start: number;
  end: number;
}

/**
 * Immutable blobs by key. `keyOrUrl` is a key or the URL that `upload` returned; anything else
 * throws `InvalidBlobKey` (the rule is in `keys.ts`). Reading what is missing throws
 * `BlobNotFound`; deleting it is fine. All other failures are the `unavailable` AppError or the
 * store's own error.
 */
export interface Storage {
  /** What this is, for the `ready` line, without secrets. */
  readonly description: string;
  /**
   * Stores `stream` in constant memory and returns the blob's URL. Throws `BlobExists` rather than
   * overwrite. A stream that fails leaves no blob. Whenever this rejects, the stream is destroyed.
   */
  upload(stream: Readable, key: string, options?: { contentType?: string }): Promise<string>;
  download(keyOrUrl: string): Promise<Buffer>;
  /** A range is cut at the blob's end; one that starts past it throws `range_not_satisfiable`. */
  downloadStream(keyOrUrl: string, range?: ByteRange): Promise<Readable>;
  delete(keyOrUrl: string): Promise<void>;
  /** Deletes every blob below the folder `prefix`: of `a/b`, `a/b/c` but not `a/b` or `a/bc`. */
  deleteDir(prefix: string): Promise<void>;
  exists(keyOrUrl: string): Promise<boolean>;
  properties(keyOrUrl: string): Promise<BlobProperties>;
  /** Keys that start with `prefix` (empty: all), sorted. */
  list(prefix: string): Promise<string[]>;
  /** Keys that start with `prefix` and whose last segment contains `query`, whatever its case. */
  find(query: string, prefix: string): Promise<string[]>;
  /** One round trip; throws when the store can't be used. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

export class BlobNotFound extends Error {
  override readonly name = "BlobNotFound";
}

export class BlobExists extends Error {
  override readonly name = "BlobExists";
}

export function rangeNotSatisfiable(cause?: unknown): AppError {
  return new AppError("range_not_satisfiable", "The requested range starts after the end.", {
    cause,
  });
}
