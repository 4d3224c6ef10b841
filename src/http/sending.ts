import type { IncomingMessage } from "node:http";
import { addAbortSignal, Readable } from "node:stream";
import { announcesBody } from "./headers.ts";
import { readBody } from "./incoming.ts";
import type { Headers, Reply } from "./replies.ts";
import { ClientGone, type Request } from "./request.ts";

/** A client that takes nothing of its answer for so long is cut off. */
const STALLED_READER_MS = 120_000;
const LINGER_QUIET_MS = 1_000;
const LINGER_TOTAL_MS = 30_000;

export function bodyIsUnderWay(raw: IncomingMessage): boolean {
  return announcesBody(raw.headers) && !raw.complete;
}

/**
 * Sends the status and the body of a reply, with these headers; a promise where that is not done at
 * once. Where the request's body is under way `linger` ends the response.
 */
export function send(
  request: Request,
  { status, body = "" }: Reply,
  headers: Headers,
): Promise<void> | undefined {
  const { raw, response, logFields } = request;
  const mayHaveBody = status !== 204 && status !== 304;
  const isSent = mayHaveBody && raw.method !== "HEAD";
  // What no handler read is thrown away.
  if (bodyIsUnderWay(raw)) raw.resume();
  if (body instanceof Readable) {
    const begin = () => response.writeHead(status, headers);
    return sendStream(request, body, isSent, begin);
  }
  if (raw.socket.destroyed) throw new ClientGone();
  const bytes = Buffer.byteLength(body);
  response.writeHead(status, mayHaveBody ? { "Content-Length": bytes, ...headers } : headers);
  if (isSent) logFields.bytes = bytes;
  return finish(request, isSent ? body : "");
}

/** Calls `begin` before the first byte: a source that fails earlier is an error answer. */
async function sendStream(
  request: Request,
  source: Readable,
  isSent: boolean,
  begin: () => void,
): Promise<void> {
  const { raw, response, signal, logFields } = request;
  try {
    if (raw.socket.destroyed) throw new ClientGone();
    // A stream that is not of the announced length fails.
    response.strictContentLength = true;
    response.setTimeout(STALLED_READER_MS);
    let bytes = 0;
    if (isSent)
      await new Promise<void>((resolve, reject) => {
        const closed = () => reject(new Error("The source of the answer was closed"));
        if (source.destroyed) closed();
        response.on("drain", () => source.resume());
        addAbortSignal(signal, source).on("end", resolve).on("error", reject).on("close", closed);
        source.on("data", (chunk: Buffer) => {
          try {
            if (bytes === 0) begin();
            bytes += chunk.length;
            logFields.bytes = bytes;
            if (!response.write(chunk, () => recycle(source, chunk))) source.pause();
          } catch (error) {
            reject(error);
            source.destroy();
          }
        });
      });
    if (!response.headersSent) begin();
    await finish(request, "");
  } catch (error) {
    throw request.ending ?? error;
  } finally {
    source.destroy();
  }
}

/** Ends the response with `last`, unless `linger` will. */
function finish({ raw, response }: Request, last: string | Buffer): Promise<void> | undefined {
  // Who was too slow to send is not waited for.
  if (bodyIsUnderWay(raw) && response.statusCode !== 408) {
    if (last.length > 0) response.write(last);
    response.flushHeaders();
    return undefined;
  }
  response.end(last);
  if (response.writableLength === 0 && !raw.socket.errored) return undefined;
  // Without a listener the socket's time-out destroys it.
  response.setTimeout(STALLED_READER_MS);
  return new Promise((resolve, reject) => {
    response.once("finish", resolve).once("close", () => reject(new ClientGone()));
  });
}

/** Gives a chunk that was sent back to a source that can fill it again. */
function recycle(source: Readable & { recycle?(chunk: Buffer): void }, chunk: Buffer): void {
  source.recycle?.(chunk);
}

/**
 * Reads on until the client is quiet, gone or late. Closing at once would reset the connection
 * under a client that still sends: it would lose the answer (RFC 9112 §9.6).
 */
export async function linger(request: Request): Promise<void> {
  const signal = AbortSignal.timeout(LINGER_TOTAL_MS);
  try {
    for await (const _rest of readBody(request, { signal, idleMs: LINGER_QUIET_MS }));
  } catch {}
  request.response.end();
}
