import { randomUUID } from "node:crypto";
import type { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { BlobServiceClient, type BlockBlobClient, type ContainerClient } from "@azure/storage-blob";
import type { Logger } from "../log.ts";
import { call, guarded } from "./azure-call.ts";
import {
  byCodePoint,
  checkKey,
  findNames,
  InvalidBlobKey,
  isKey,
  isPrefix,
  isUrl,
} from "./keys.ts";
import type { BlobProperties, ByteRange, Storage } from "./storage.ts";
import { BlobExists, BlobNotFound, rangeNotSatisfiable } from "./storage.ts";
import { consume } from "./streaming.ts";

/** At once, then after 0.3 s: a moment's fault is mended, and a refusal fails within a second. */
const RETRIES = { maxTries: 3, retryDelayInMs: 300 };

/** Bytes. An upload holds one block. A blob has 50,000 at most: 195 GiB. */
const BLOCK_SIZE = 4 * 1024 * 1024;

/** Milliseconds for one block: 140 KB/s, a slow office line, are enough. */
const BLOCK_TIMEOUT = 30_000;

/** Deletions at once. All have their answer before the next are sent: none waits behind many. */
const BATCH = 4;

/** Media types that a header can carry. Instead of another the service keeps its default. */
const HEADER_SAFE = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/;

/**
 * Blobs in a container of Azure Blob Storage, which is created when missing. Each keeps its content
 * type. A connection that breaks during a download shows as an error of the stream.
 */
export class AzureBlobStorage implements Storage {
  readonly description: string;
  readonly #container: ContainerClient;
  readonly #log: Logger;
  readonly #base: string;

  private constructor(container: ContainerClient, log: Logger) {
    this.#container = container;
    this.#log = log;
    this.#base = withoutQuery(container.url);
    this.description = `Azure Blob Storage ${this.#base}`;
  }

  /** Connects to nothing yet. Throws for a malformed connection string, without repeating it. */
  static async open(options: { connectionString: string; container: string; log: Logger }) {
    const { connectionString, container, log } = options;
    try {
      const retryOptions = RETRIES;
      const service = BlobServiceClient.fromConnectionString(connectionString, { retryOptions });
      return new AzureBlobStorage(service.getContainerClient(container), log);
    } catch {
      // Without the cause: a URL error carries its input.
      throw new Error("This is not a connection string of Azure Storage");
    }
  }

  /** Blocks are no blob before their list is committed: an upload that ends early leaves none. */
  async upload(stream: Readable, key: string, options: { contentType?: string } = {}) {
    return consume(stream, async (cancel) => {
      // The service turns a backslash into a slash, which would make another key of it.
      if (checkKey(key).includes("\\")) throw new InvalidBlobKey("Azure has no backslash in names");
      const blob = this.#container.getBlockBlobClient(key);
      const upload = randomUUID();
      const ids: string[] = [];
      for await (const block of inBlocks(stream)) {
        // All ids of a key's blocks must have one length ("Put Block").
        const id = btoa(`${upload}-${String(ids.length).padStart(6, "0")}`);
        const stage = (abortSignal: AbortSignal) =>
          blob.stageBlock(id, block, block.length, { abortSignal });
        await this.#inContainer(() => call(stage, { timeout: BLOCK_TIMEOUT, cancel }));
        ids.push(id);
      }
      await this.#inContainer(() => commit(blob, ids, upload, options.contentType?.trim() ?? ""));
      return withoutQuery(blob.url);
    });
  }

  async download(keyOrUrl: string): Promise<Buffer> {
    return buffer(await this.downloadStream(keyOrUrl));
  }

  async downloadStream(keyOrUrl: string, range?: ByteRange): Promise<Readable> {
    const blob = this.#blob(keyOrUrl);
    const count = range && range.end - range.start + 1;
    const { readableStreamBody, contentLength } = await call((abortSignal) =>
      blob.download(range?.start, count, { abortSignal }),
    );
    const body = guarded(readableStreamBody as Readable);
    if (!range || contentLength !== 0) return body;
    // The emulator's answer to a range that starts past the end.
    body.destroy();
    throw rangeNotSatisfiable();
  }

  async delete(keyOrUrl: string): Promise<void> {
    await this.#delete(this.#keyOf(keyOrUrl));
  }

  async deleteDir(prefix: string): Promise<void> {
    const folder = this.#keyOf(prefix.replace(/\/$/, ""));
    for await (const names of this.#pages(`${folder}/`, BATCH)) {
      await Promise.all(names.map((name) => this.#delete(name)));
    }
  }

  async exists(keyOrUrl: string): Promise<boolean> {
    const blob = this.#blob(keyOrUrl);
    return call((abortSignal) => blob.exists({ abortSignal }));
  }

  async properties(keyOrUrl: string): Promise<BlobProperties> {
    const blob = this.#blob(keyOrUrl);
    const found = await call((abortSignal) => blob.getProperties({ abortSignal }));
    const { contentLength: size = 0, contentType, lastModified = new Date(0), etag = "" } = found;
    return { size, contentType, lastModified, etag };
  }

  async list(prefix: string): Promise<string[]> {
    const start = isUrl(prefix) ? this.#keyOf(prefix) : prefix;
    if (!isPrefix(start)) return [];
    const keys: string[] = [];
    for await (const names of this.#pages(start)) keys.push(...names.filter(isKey));
    return keys.sort(byCodePoint);
  }

  async find(query: string, prefix: string): Promise<string[]> {
    return findNames(await this.list(prefix), query);
  }

  async ping(): Promise<void> {
    await this.#page("", 1);
  }

  /** Nothing to do: the SDK's idle connections do not keep the process alive. */
  async close(): Promise<void> {}

  #blob(keyOrUrl: string): BlockBlobClient {
    return this.#container.getBlockBlobClient(this.#keyOf(keyOrUrl));
  }

  #keyOf(keyOrUrl: string): string {
    if (!isUrl(keyOrUrl)) return checkKey(keyOrUrl);
    try {
      const url = withoutQuery(keyOrUrl);
      const start = `${this.#base}/`;
      if (url.startsWith(start)) return checkKey(decodeURIComponent(url.slice(start.length)));
    } catch {}
    throw new InvalidBlobKey("This URL is not of a blob in this container");
  }

  /** Runs a call that only a missing container can make a 404; creates it then, and runs again. */
  async #inContainer<Result>(run: () => Promise<Result>): Promise<Result> {
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof BlobNotFound)) throw error;
      await call((abortSignal) => this.#container.createIfNotExists({ abortSignal }));
      this.#log.info("Blob container created", { container: this.#base });
      return run();
    }
  }

  async #delete(name: string): Promise<void> {
    const blob = this.#container.getBlockBlobClient(name);
    try {
      await call((abortSignal) => blob.delete({ abortSignal, deleteSnapshots: "include" }));
    } catch (error) {
      if (!(error instanceof BlobNotFound)) throw error;
    }
  }

  async #page(prefix: string, maxPageSize: number, token?: string) {
    const settings = { maxPageSize, ...(token && { continuationToken: token }) };
    const read = async (abortSignal: AbortSignal) => {
      const list = this.#container.listBlobsFlat({ abortSignal, prefix });
      const { value } = await list.byPage(settings).next();
      const items: { name: string }[] = value.segment.blobItems;
      return { names: items.map(({ name }) => name), next: value.continuationToken as string };
    };
    return this.#inContainer(() => call(read));
  }

  /** Names that start with `prefix`, page by page. */
  async *#pages(prefix: string, size = 1_000): AsyncGenerator<string[]> {
    let token: string | undefined;
    do {
      const page = await this.#page(prefix, size, token);
      yield page.names;
      token = page.next;
    } while (token);
  }
}

/**
 * The bytes of `source` in blocks, copied into one buffer: a block must be done with when the next
 * is asked for. A slow client's one-byte chunks, if kept, would each hold a buffer of their own.
 */
async function* inBlocks(source: Readable): AsyncGenerator<Buffer> {
  const block = Buffer.allocUnsafeSlow(BLOCK_SIZE);
  let used = 0;
  for await (const piece of source) {
    let rest: Buffer = typeof piece === "string" ? Buffer.from(piece) : piece;
    while (rest.length > 0) {
      const taken = rest.copy(block, used);
      rest = rest.subarray(taken);
      used += taken;
      if (used < BLOCK_SIZE) continue;
      yield block;
      used = 0;
    }
  }
  if (used > 0) yield block.subarray(0, used);
}

/** Makes the blocks a blob that is marked with `upload`. Throws `BlobExists`. */
async function commit(blob: BlockBlobClient, ids: string[], upload: string, contentType: string) {
  const options = {
    conditions: { ifNoneMatch: "*" },
    metadata: { upload },
    blobHTTPHeaders: HEADER_SAFE.test(contentType) ? { blobContentType: contentType } : {},
  };
  try {
    await call((abortSignal) => blob.commitBlockList(ids, { ...options, abortSignal }));
  } catch (error) {
    // The blob there may be this one: the answer got lost, and repeating the commit found it done.
    const found = await call((abortSignal) => blob.getProperties({ abortSignal })).catch(() => {});
    if (!found) throw error;
    if (found.metadata?.upload === upload) return;
    throw new BlobExists("A blob with this key exists", { cause: error });
  }
}

/** A URL without its query and fragment: a SAS is a credential. */
function withoutQuery(url: string): string {
  const { origin, pathname } = new URL(url);
  return origin + pathname;
}
