import { isUtf8 } from "node:buffer";
import { AppError, TimedOut, within } from "../errors.ts";
import { ClientGone, type Request } from "./request.ts";

const NEWS = ["readable", "end", "close"];

/**
 * The body as it arrives, at most a few chunks ahead of the reader, after the `100 Continue` that
 * is waited for. Throws `ClientGone`, 408 when nothing arrives for the idle time or it is not whole
 * after `totalMs`, or the reason of `signal`. What a reader that stops early leaves stays unread.
 */
export async function* readBody(
  request: Request,
  {
    signal = request.signal,
    idleMs = request.timeouts.bodyIdleTimeoutMs,
    totalMs = Number.POSITIVE_INFINITY,
  } = {},
): AsyncGenerator<Buffer> {
  const { raw, response, headers } = request;
  signal.throwIfAborted();
  const isAwaited = raw.httpVersion === "1.1" && /^100-continue$/i.test(headers.expect ?? "");
  if (isAwaited && !response.headersSent) response.writeContinue();
  const deadline = performance.now() + totalMs;
  let wake = () => {};
  const onNews = () => wake();
  for (const event of NEWS) raw.on(event, onNews);
  signal.addEventListener("abort", onNews);
  try {
    while (!raw.readableEnded) {
      signal.throwIfAborted();
      const chunk: Buffer | null = raw.read();
      if (chunk) {
        yield chunk;
        continue;
      }
      if (raw.destroyed) throw new ClientGone();
      const news = new Promise<void>((resolve) => {
        wake = resolve;
      });
      const waitMs = Math.min(idleMs, deadline - performance.now());
      await within(news, waitMs, "No bytes of the body");
    }
  } catch (error) {
    if (!(error instanceof TimedOut)) throw error;
    throw new AppError("request_timeout", "The request body did not arrive in time");
  } finally {
    for (const event of NEWS) raw.off(event, onNews);
    signal.removeEventListener("abort", onNews);
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

export async function collect(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

/** The text of `atMost`, with its byte order mark; undefined when it is no UTF-8. */
export async function readUtf8(
  chunks: AsyncIterable<Buffer>,
  maxBytes: number,
  excess: () => AppError,
): Promise<string | undefined> {
  const bytes = await collect(atMost(chunks, maxBytes, excess));
  return isUtf8(bytes) ? bytes.toString() : undefined;
}
