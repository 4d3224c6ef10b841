import { randomUUID } from "node:crypto";
import type { Readable } from "node:stream";
import { type BlobClient, BlobServiceClient, type ContainerClient } from "@azure/storage-blob";
import { call, guarded, whileOpen } from "./azure-call.ts";
import { isKey } from "./keys.ts";
import { BlobNotFound, type BlobProperties, type ByteRange, Storage } from "./storage.ts";

/** An upload holds one block. A blob has 50,000 at most: 195 GiB. */
const BLOCK_BYTES = 4 * 1024 * 1024;
/** 140 KB/s are enough. */
const BLOCK_TIMEOUT_MS = 30_000;

/** Blobs in a container of Azure Blob Storage, which `upload` and `ping` create when missing. */
export class AzureBlobStorage extends Storage {
  readonly description: string;
  readonly #container: ContainerClient;
  readonly #base: string;

  /** Connects to nothing yet. Throws for a malformed connection string, and may repeat it. */
  constructor({ connectionString, container }: { connectionString: string; container: string }) {
    super();
    const retryOptions = { maxTries: 3, retryDelayInMs: 300 };
    const service = BlobServiceClient.fromConnectionString(connectionString, { retryOptions });
    this.#container = service.getContainerClient(container);
    this.#base = withoutQuery(this.#container.url);
    this.description = `Azure Blob Storage ${this.#base}`;
  }

  url(keyOrUrl: string): string {
    return withoutQuery(this.#blob(keyOrUrl).url);
  }

  async downloadStream(keyOrUrl: string, range?: ByteRange): Promise<Readable> {
    const blob = this.#blob(keyOrUrl);
    const count = range && range.end - range.start + 1;
    const ask = (abortSignal: AbortSignal) => blob.download(range?.start, count, { abortSignal });
    return guarded((await call(ask)).readableStreamBody as Readable);
  }

  async delete(keyOrUrl: string): Promise<void> {
    const blob = this.#blob(keyOrUrl);
    await call((abortSignal) => blob.delete({ abortSignal, deleteSnapshots: "include" })).catch(
      ignoreMissing,
    );
  }

  async properties(keyOrUrl: string): Promise<BlobProperties> {
    const blob = this.#blob(keyOrUrl);
    const found = await call((abortSignal) => blob.getProperties({ abortSignal }));
    const { contentLength: size = 0, contentType, lastModified = new Date(0), etag = "" } = found;
    return { size, contentType, lastModified, etag };
  }

  async ping(): Promise<void> {
    await this.#inContainer(() => this.#names("", 1).next());
  }

  protected parseUrl(url: string): string | undefined {
    const start = `${this.#base}/`;
    const address = withoutQuery(url);
    return address.startsWith(start) ? decodeURIComponent(address.slice(start.length)) : undefined;
  }

  /** Blocks are no blob before their list is committed: an upload that ends early leaves none. */
  protected store(stream: Readable, key: string, contentType?: string) {
    return whileOpen(stream, async (cancel) => {
      const blob = this.#container.getBlockBlobClient(key);
      const upload = randomUUID();
      const ids: string[] = [];
      for await (const block of inBlocks(stream)) {
        // All ids of a key's blocks must have one length ("Put Block").
        const id = btoa(`${upload}-${String(ids.length).padStart(6, "0")}`);
        const stage = (abortSignal: AbortSignal) =>
          blob.stageBlock(id, block, block.length, { abortSignal });
        await this.#inContainer(() => call(stage, BLOCK_TIMEOUT_MS, cancel));
        ids.push(id);
      }
      const commit = (abortSignal: AbortSignal) =>
        blob.commitBlockList(ids, {
          abortSignal,
          conditions: { ifNoneMatch: "*" },
          blobHTTPHeaders: contentType ? { blobContentType: contentType } : {},
        });
      await this.#inContainer(() => call(commit));
    });
  }

  protected async *keysFrom(start: string): AsyncGenerator<string> {
    try {
      for await (const name of this.#names(start)) if (isKey(name)) yield name;
    } catch (error) {
      ignoreMissing(error);
    }
  }

  #blob(keyOrUrl: string): BlobClient {
    return this.#container.getBlobClient(this.keyOf(keyOrUrl));
  }

  /** Runs a call that is a 404 only when the container is missing: creates it and runs again. */
  async #inContainer<Result>(run: () => Promise<Result>): Promise<Result> {
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof BlobNotFound)) throw error;
      await call((abortSignal) => this.#container.createIfNotExists({ abortSignal }));
      return run();
    }
  }

  async *#names(prefix: string, maxPageSize = 1_000): AsyncGenerator<string> {
    let token: string | undefined;
    do {
      const settings = { maxPageSize, ...(token && { continuationToken: token }) };
      const read = (abortSignal: AbortSignal) =>
        this.#container.listBlobsFlat({ prefix, abortSignal }).byPage(settings).next();
      const { value: page } = await call(read);
      for (const { name } of page.segment.blobItems) yield name;
      token = page.continuationToken;
    } while (token);
  }
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof BlobNotFound)) throw error;
}

/** The bytes of `source` in blocks, all in one buffer: each must be done with before the next. */
async function* inBlocks(source: Readable): AsyncGenerator<Buffer> {
  const block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  let used = 0;
  for await (const piece of source) {
    let rest: Buffer = typeof piece === "string" ? Buffer.from(piece) : piece;
    while (rest.length > 0) {
      const taken = rest.copy(block, used);
      rest = rest.subarray(taken);
      used += taken;
      if (used < BLOCK_BYTES) continue;
      yield block;
      used = 0;
    }
  }
  if (used > 0) yield block.subarray(0, used);
}

/** A URL without its query and fragment: a SAS is a credential. */
function withoutQuery(url: string): string {
  const { origin, pathname } = new URL(url);
  return origin + pathname;
}
