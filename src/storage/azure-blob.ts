import type { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import {
  BlobServiceClient,
  type BlockBlobClient,
  type ContainerClient,
  StorageRetryPolicyType,
} from "@azure/storage-blob";
import type { Logger } from "../log.ts";
import { CALL_TIMEOUT, call, repeatedly, statusOf } from "./azure-call.ts";
import { withoutStalls } from "./azure-download.ts";
import { sendBlocks } from "./azure-upload.ts";
import {
  checkKey,
  InvalidBlobKey,
  isKey,
  isPrefix,
  isUrl,
  nameContains,
  sortKeys,
} from "./keys.ts";
import { BlobNotFound, type BlobProperties, type ByteRange, type Storage } from "./storage.ts";
import { checkRange, consume, rangeNotSatisfiable } from "./streaming.ts";

/** Milliseconds without a byte before a download that its reader waits for fails. */
const READ_TIMEOUT = 30_000;

/** At once, then after 0.3 s: what one moment breaks is mended, and a refused connection fails within a second. */
const RETRIES = {
  retryPolicyType: StorageRetryPolicyType.EXPONENTIAL,
  maxTries: 3,
  retryDelayInMs: 300,
  maxRetryDelayInMs: 2_000,
};

/** How often the SDK may go on with a download, from where it ended, when the answer ends early. */
const DOWNLOAD_RETRIES = 3;

/** The largest page that the service gives (learn.microsoft.com, "List Blobs"). */
const PAGE_SIZE = 5_000;

/** Deletions sent at once. The next are sent when all have their answer, so that none waits behind many others. */
const BATCH = 4;

/**
 * Blobs in a container of Azure Blob Storage, which is created when missing. Each keeps its content type and, as metadata,
 * its `sha256`. A connection that breaks during a download shows as an error of the stream.
 */
export class AzureBlobStorage implements Storage {
  readonly description: string;
  readonly #container: ContainerClient;
  readonly #log: Logger;
  readonly #base: string;
  #creation: Promise<void> | undefined;

  private constructor(container: ContainerClient, log: Logger) {
    this.#container = container;
    this.#log = log;
    this.#base = withoutQuery(container.url);
    this.description = `Azure Blob Storage ${this.#base}`;
  }

  /** Connects to nothing yet: a service that is down is met by the first call. Throws for a malformed connection string. */
  static async open(options: {
    connectionString: string;
    container: string;
    log: Logger;
  }): Promise<AzureBlobStorage> {
    let service: BlobServiceClient;
    try {
      service = BlobServiceClient.fromConnectionString(options.connectionString, {
        retryOptions: RETRIES,
      });
    } catch {
      // Without the cause: a URL error carries its input.
      throw new Error("This is not a connection string of Azure Storage");
    }
    return new AzureBlobStorage(service.getContainerClient(options.container), options.log);
  }

  async upload(
    stream: Readable,
    key: string,
    options: { contentType?: string } = {},
  ): Promise<string> {
    return consume(stream, async (signal) => {
      // The service turns a backslash into a slash, which would make another key of it.
      if (checkKey(key).includes("\\")) throw new InvalidBlobKey("Azure has no backslash in names");
      const blob = this.#container.getBlockBlobClient(key);
      const inContainer = (firstCall: () => Promise<unknown>) => this.#inContainer(firstCall);
      await sendBlocks(stream, blob, { contentType: options.contentType, signal, inContainer });
      return withoutQuery(blob.url);
    });
  }

  async download(keyOrUrl: string): Promise<Buffer> {
    return buffer(await this.downloadStream(keyOrUrl));
  }

  async downloadStream(keyOrUrl: string, range?: ByteRange): Promise<Readable> {
    if (range) checkRange(range);
    const count = range && range.end - range.start + 1;
    const blob = this.#blob(keyOrUrl);
    const reading = new AbortController();
    const answer = await call(
      CALL_TIMEOUT,
      (abortSignal) =>
        blob.download(range?.start ?? 0, count, {
          abortSignal,
          maxRetryRequests: DOWNLOAD_RETRIES,
        }),
      reading.signal,
    );
    const source = answer.readableStreamBody as Readable;
    if (range && answer.contentLength === 0) {
      source.destroy();
      throw rangeNotSatisfiable();
    }
    const body = withoutStalls(source, READ_TIMEOUT);
    // Also ends a repeated request that has no answer yet.
    body.once("close", () => reading.abort());
    return body;
  }

  async delete(keyOrUrl: string): Promise<void> {
    const blob = this.#blob(keyOrUrl);
    await this.#delete(blob);
  }

  async deleteDir(prefix: string): Promise<void> {
    const folder = isUrl(prefix) ? this.#keyOf(prefix) : checkKey(prefix.replace(/\/$/, ""));
    for await (const names of this.#pages(`${folder}/`)) {
      for (let at = 0; at < names.length; at += BATCH) {
        const blobs = names
          .slice(at, at + BATCH)
          .map((name) => this.#container.getBlockBlobClient(name));
        await Promise.all(blobs.map((blob) => repeatedly(() => this.#delete(blob))));
      }
    }
  }

  async exists(keyOrUrl: string): Promise<boolean> {
    const blob = this.#blob(keyOrUrl);
    return call(CALL_TIMEOUT, (abortSignal) => blob.exists({ abortSignal }));
  }

  async properties(keyOrUrl: string): Promise<BlobProperties> {
    const blob = this.#blob(keyOrUrl);
    const found = await call(CALL_TIMEOUT, (abortSignal) => blob.getProperties({ abortSignal }));
    return {
      size: found.contentLength ?? 0,
      contentType: found.contentType,
      lastModified: found.lastModified ?? new Date(0),
      etag: found.etag ?? "",
    };
  }

  async list(prefix: string): Promise<string[]> {
    const keys: string[] = [];
    for await (const names of this.#pages(isUrl(prefix) ? this.#keyOf(prefix) : prefix)) {
      for (const name of names) if (isKey(name)) keys.push(name);
    }
    return sortKeys(keys);
  }

  async find(query: string, prefix: string): Promise<string[]> {
    return (await this.list(prefix)).filter((key) => nameContains(key, query));
  }

  async ping(): Promise<void> {
    try {
      await this.#page("", 1);
    } catch (error) {
      if (!(error instanceof BlobNotFound)) throw error;
      this.#creation = undefined;
      await this.#containerExists();
    }
  }

  /** Nothing to do: the SDK's idle connections do not keep the process alive. */
  async close(): Promise<void> {}

  #blob(keyOrUrl: string): BlockBlobClient {
    return this.#container.getBlockBlobClient(this.#keyOf(keyOrUrl));
  }

  #keyOf(keyOrUrl: string): string {
    if (!isUrl(keyOrUrl)) return checkKey(keyOrUrl);
    const base = `${this.#base}/`;
    const url = URL.canParse(keyOrUrl) ? withoutQuery(keyOrUrl) : "";
    if (!url.startsWith(base))
      throw new InvalidBlobKey("This URL is not of a blob in this container");
    try {
      return checkKey(decodeURIComponent(url.slice(base.length)));
    } catch {
      throw new InvalidBlobKey("This URL is not of a blob");
    }
  }

  /** Runs the first call of an upload in the container; creates that when it was never seen or is gone again. */
  async #inContainer(firstCall: () => Promise<unknown>): Promise<unknown> {
    await this.#containerExists();
    try {
      return await firstCall();
    } catch (error) {
      if (!(error instanceof BlobNotFound)) throw error;
      this.#creation = undefined;
      await this.#containerExists();
      return firstCall();
    }
  }

  /** Creates the container unless it is known to exist; what fails is tried again by the next caller. */
  #containerExists(): Promise<void> {
    this.#creation ??= call(CALL_TIMEOUT, async (abortSignal) => {
      try {
        const { succeeded } = await this.#container.createIfNotExists({ abortSignal });
        if (succeeded) this.#log.info("Blob container created", { container: this.#base });
      } catch (error) {
        // A SAS may allow everything but this: then the container is there, or what follows tells that it is not.
        if (statusOf(error) !== 403) throw error;
        this.#log.warn("No permission to create the blob container", { container: this.#base });
      }
    }).catch((error: unknown) => {
      this.#creation = undefined;
      throw error;
    });
    return this.#creation;
  }

  async #delete(blob: BlockBlobClient): Promise<void> {
    try {
      await call(CALL_TIMEOUT, (abortSignal) =>
        blob.delete({ abortSignal, deleteSnapshots: "include" }),
      );
    } catch (error) {
      if (!(error instanceof BlobNotFound)) throw error;
    }
  }

  /** One page of names; `BlobNotFound` when there is no container. */
  async #page(prefix: string, maxPageSize: number, continuationToken?: string) {
    return call(CALL_TIMEOUT, async (abortSignal) => {
      const pages = this.#container
        .listBlobsFlat({ abortSignal, ...(prefix === "" ? {} : { prefix }) })
        .byPage({ maxPageSize, ...(continuationToken ? { continuationToken } : {}) });
      const { value } = await pages.next();
      return {
        names: value.segment.blobItems.map((item: { name: string }) => item.name) as string[],
        next: value.continuationToken as string | undefined,
      };
    });
  }

  async *#pages(prefix: string): AsyncGenerator<string[]> {
    if (!isPrefix(prefix)) return;
    let next: string | undefined;
    do {
      try {
        const page = await repeatedly(() => this.#page(prefix, PAGE_SIZE, next));
        yield page.names;
        next = page.next;
      } catch (error) {
        if (error instanceof BlobNotFound) return;
        throw error;
      }
    } while (next);
  }
}

/** A URL without its query and fragment: a SAS is a credential. */
function withoutQuery(url: string): string {
  const { origin, pathname } = new URL(url);
  return origin + pathname;
}
