import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { AppError } from "../errors.ts";
import { ClientGone, type Request } from "./request.ts";

/** The announced length of the body in bytes; 0 when it is chunked. */
export function announcedLength(headers: IncomingHttpHeaders): number {
  return Number(headers["content-length"] ?? 0);
}

/** Whether the headers announce a body; a chunked one may still turn out empty. */
export function announcesBody(headers: IncomingHttpHeaders): boolean {
  return headers["transfer-encoding"] !== undefined || announcedLength(headers) > 0;
}

/**
 * The request's body as it arrives, at most a few chunks ahead of the reader. Throws `ClientGone`,
 * 400 when the body is malformed, 408 when nothing arrives for the idle time, or the reason of
 * `signal`. Asks a client that waits with `Expect: 100-continue` for the body.
 */
export function readBody(request: Request, signal = request.signal): AsyncGenerator<Buffer> {
  request.sendContinue();
  return readChunks(request.raw, request.bodyIdleTimeoutMs, signal);
}

/** As `readBody`, of a bare message. A reader that stops early leaves the rest of the body unread. */
export async function* readChunks(
  raw: IncomingMessage,
  idleMs: number,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  while (!raw.readableEnded) {
    signal.throwIfAborted();
    if (raw.destroyed) throw new ClientGone();
    const chunk = await nextChunk(raw, idleMs, signal);
    if (chunk) yield chunk;
  }
}

/** The next chunk, or undefined at the body's end. */
async function nextChunk(
  raw: IncomingMessage,
  idleMs: number,
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer | undefined>();
  const onData = (chunk: Buffer) => {
    raw.pause();
    resolve(chunk);
  };
  const onEnd = () => resolve(undefined);
  const onClose = () => reject(new ClientGone());
  const onAbort = () => reject(signal.reason);
  const timer = setTimeout(
    () => reject(new AppError("request_timeout", "The request body did not arrive in time")),
    idleMs,
  );
  raw.on("data", onData).on("end", onEnd).on("close", onClose).resume();
  signal.addEventListener("abort", onAbort);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    raw.off("data", onData).off("end", onEnd).off("close", onClose).pause();
    signal.removeEventListener("abort", onAbort);
  }
}

/** Passes `chunks` on, and throws `excess` as soon as there are more than `maxBytes`. */
export async function* atMost(
  chunks: AsyncIterable<Buffer>,
  maxBytes: number,
  excess: () => AppError,
): AsyncGenerator<Buffer> {
  let size = 0;
  for await (const chunk of chunks) {
    size += chunk.length;
    if (size > maxBytes) throw excess();
    yield chunk;
  }
}

/** All the chunks as one. */
export async function collect(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}
