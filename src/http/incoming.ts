import { on } from "node:events";
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { AppError, TimedOut, within } from "../errors.ts";
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

/** As `readBody`, of a bare message. What a reader that stops early leaves stays unread. */
export async function* readChunks(
  raw: IncomingMessage,
  idleMs: number,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  signal.throwIfAborted();
  if (raw.readableEnded) return;
  const options = { signal, close: ["end", "close"], highWaterMark: 1, lowWaterMark: 1 };
  const events = on(raw, "data", options);
  try {
    for (;;) {
      const { done, value } = await within(events.next(), idleMs, "No bytes of the body");
      if (done) break;
      yield value[0];
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    if (!(error instanceof TimedOut)) throw new ClientGone();
    throw new AppError("request_timeout", "The request body did not arrive in time");
  } finally {
    await events.return?.();
    raw.pause();
  }
  if (!raw.readableEnded) throw new ClientGone();
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

/** The text, with its byte order mark; undefined when the bytes are no UTF-8. */
export function decodeUtf8(bytes: Buffer): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
