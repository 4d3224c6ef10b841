import { createHash, randomUUID } from "node:crypto";
import type { Readable } from "node:stream";
import { CALL_TIMEOUT, call } from "./azure-call.ts";
import { BlobExists } from "./storage.ts";

/** Bytes. An upload holds two blocks, one on its way and one filling. A blob has 50,000 blocks at most: 195 GiB. */
const BLOCK_SIZE = 4 * 1024 * 1024;

/** Milliseconds for one block with its retries: 140 KB/s, a slow office line, are enough. */
const BLOCK_TIMEOUT = 30_000;

/** Bytes. Where a block's buffer starts; it doubles up to the block's size, so that small documents need little memory. */
const FIRST_BUFFER = 64 * 1024;

/**
 * The bytes of `source` in blocks of `size` bytes, the last one shorter. Bytes are copied, since a slow client's one-byte chunks would
 * each hold on to a whole network buffer, into two buffers in turn: when a block is taken, the one before it must be done with.
 */
async function* inBlocks(source: Readable, size: number): AsyncGenerator<Buffer> {
  let block: Buffer = Buffer.allocUnsafeSlow(Math.min(FIRST_BUFFER, size));
  let other: Buffer | undefined;
  let used = 0;
  for await (const piece of source) {
    const chunk: Uint8Array = typeof piece === "string" ? Buffer.from(piece) : piece;
    for (let taken = 0; taken < chunk.length; ) {
      if (used === block.length) {
        const larger = Buffer.allocUnsafeSlow(Math.min(block.length * 2, size));
        larger.set(block);
        block = larger;
      }
      const part = chunk.subarray(taken, taken + block.length - used);
      block.set(part, used);
      used += part.length;
      taken += part.length;
      if (used === size) {
        yield block;
        [block, other] = [other ?? Buffer.allocUnsafeSlow(size), block];
        used = 0;
      }
    }
  }
  if (used > 0) yield block.subarray(0, used);
}

/** What a header can carry. Of anything else the service keeps its default; the database knows the client's own words. */
const HEADER_SAFE = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/;

interface CallOptions {
  abortSignal: AbortSignal;
}

/** The part of the SDK's `BlockBlobClient` that an upload uses. */
interface BlockBlob {
  stageBlock(id: string, body: Buffer, length: number, options: CallOptions): Promise<unknown>;
  commitBlockList(
    ids: string[],
    options: CallOptions & {
      conditions: { ifNoneMatch: string };
      metadata: Record<string, string>;
      blobHTTPHeaders: { blobContentType?: string };
    },
  ): Promise<unknown>;
  getProperties(options: CallOptions): Promise<{ metadata?: Record<string, string> }>;
}

/**
 * Sends `stream` as blocks, which are no blob until the list of them is committed, with properties and metadata, in one
 * step. Throws `BlobExists` rather than overwrite. `signal`, aborted when the stream fails, gives up the block on its way.
 * The first call is made through `inContainer`, which creates the container when that says there is none.
 */
export async function sendBlocks(
  stream: Readable,
  blob: BlockBlob,
  options: {
    contentType: string | undefined;
    signal: AbortSignal;
    inContainer: (firstCall: () => Promise<unknown>) => Promise<unknown>;
  },
): Promise<void> {
  const upload = randomUUID();
  const sha256 = createHash("sha256");
  const ids: string[] = [];
  let staged: Promise<unknown> = Promise.resolve();
  for await (const block of inBlocks(stream, BLOCK_SIZE)) {
    sha256.update(block);
    await staged;
    // All ids of a blob must have one length ("Put Block"), also those of another upload to this key.
    const id = Buffer.from(`${upload}-${String(ids.length).padStart(6, "0")}`).toString("base64");
    const stage = (abortSignal: AbortSignal) =>
      blob.stageBlock(id, block, block.length, { abortSignal });
    const send = () => call(BLOCK_TIMEOUT, stage, options.signal);
    staged = ids.length === 0 ? options.inContainer(send) : send();
    // Without waiting for the next bytes of a source that may be slow.
    staged.catch((error: Error) => stream.destroy(error));
    ids.push(id);
  }
  await staged;
  const type = options.contentType?.trim() ?? "";
  const properties = {
    metadata: { sha256: sha256.digest("hex"), upload },
    blobHTTPHeaders: HEADER_SAFE.test(type) ? { blobContentType: type } : {},
  };
  const finish = () => commit(blob, ids, properties);
  await (ids.length === 0 ? options.inContainer(finish) : finish());
}

async function commit(
  blob: BlockBlob,
  ids: string[],
  options: {
    metadata: { sha256: string; upload: string };
    blobHTTPHeaders: { blobContentType?: string };
  },
): Promise<void> {
  try {
    await call(CALL_TIMEOUT, (abortSignal) =>
      blob.commitBlockList(ids, { ...options, abortSignal, conditions: { ifNoneMatch: "*" } }),
    );
  } catch (error) {
    // The blob there may be this one: the answer got lost, and repeating the commit found it done.
    const found = await call(CALL_TIMEOUT, (abortSignal) =>
      blob.getProperties({ abortSignal }),
    ).catch(() => undefined);
    if (!found) throw error;
    if (found.metadata?.upload !== options.metadata.upload) {
      throw new BlobExists("A blob with this key exists", { cause: error });
    }
  }
}
