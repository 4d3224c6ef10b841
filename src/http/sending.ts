import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { addAbortSignal, Readable } from "node:stream";
import { announcesBody } from "./headers.ts";
import { readBody } from "./incoming.ts";
import type { Headers, Reply } from "./replies.ts";
import { ClientGone, type Incoming } from "./request.ts";

/** A client that takes nothing of its answer for so long is cut off. */
const STALLED_READER_MS = 120_000;
const LINGER_QUIET_MS = 1_000;
const LINGER_TOTAL_MS = 30_000;

export function bodyIsUnderWay(raw: IncomingMessage): boolean {
  return announcesBody(raw.headers) && !raw.complete;
}

/**
 * Sends a reply, its headers over the `defaults`. Where the request's body is under way `linger`
 * ends the response.
 */
export async function send(
  { raw, response, signal, logFields }: Incoming,
  { status, headers, body = "" }: Reply,
  defaults: Headers,
): Promise<void> {
  // What no handler read is thrown away.
  raw.resume();
  try {
    if (raw.socket.destroyed) throw new ClientGone();
    response.statusCode = status;
    for (const name of response.getHeaderNames()) response.removeHeader(name);
    for (const [name, value] of Object.entries({ ...defaults, ...headers }))
      response.setHeader(name, value);
    const mayHaveBody = status !== 204 && status !== 304;
    if (!(body instanceof Readable) && mayHaveBody && !response.hasHeader("Content-Length"))
      response.setHeader("Content-Length", Buffer.byteLength(body));
    // A stream that is not of the announced length fails.
    response.strictContentLength = true;
    // Without a listener the socket's time-out destroys it.
    response.setTimeout(STALLED_READER_MS);
    const chunks = body instanceof Readable ? addAbortSignal(signal, body) : [Buffer.from(body)];
    let bytes = 0;
    for await (const chunk of mayHaveBody && raw.method !== "HEAD" ? chunks : []) {
      const more = response.write(chunk, () => recycle(body, chunk));
      bytes += chunk.length;
      logFields.bytes = bytes;
      if (!more) await once(response, "drain", { signal });
    }
    response.flushHeaders();
    // Who was too slow to send is not waited for.
    if (bodyIsUnderWay(raw) && status !== 408) return;
    await new Promise((resolve, reject) => {
      response.once("finish", resolve).once("close", () => reject(new ClientGone()));
      response.end();
    });
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    if (body instanceof Readable) body.destroy();
  }
}

/** Gives a chunk that was sent back to a source that can fill it again. */
function recycle(source: Reply["body"], chunk: Buffer): void {
  (source as { recycle?(chunk: Buffer): void }).recycle?.(chunk);
}

/**
 * Reads on until the client is quiet, gone or late. Closing at once would reset the connection
 * under a client that still sends: it would lose the answer (RFC 9112 §9.6).
 */
export async function linger(request: Incoming): Promise<void> {
  const late = AbortSignal.timeout(LINGER_TOTAL_MS);
  try {
    for await (const _rest of readBody({ ...request, bodyIdleTimeoutMs: LINGER_QUIET_MS }, late));
  } catch {}
  request.response.end();
}
