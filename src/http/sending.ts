import { once } from "node:events";
import { addAbortSignal, Readable } from "node:stream";
import type { Exchange } from "./exchange.ts";
import { readChunks } from "./incoming.ts";
import type { Headers, Reply } from "./replies.ts";
import { ClientGone } from "./request.ts";

/** A client that takes nothing of its answer for so long is cut off. */
const STALLED_READER_MS = 120_000;
const LINGER_QUIET_MS = 1_000;
const LINGER_TOTAL_MS = 30_000;

export interface Delivery {
  /** Body bytes handed to the connection. */
  bytes: number;
  /** Why the answer is not complete: `ClientGone`, or a fault of the body's stream. */
  failure?: unknown;
}

/**
 * Sets status and headers, the reply's own over the `defaults`, and waits for the first bytes of a
 * stream. Nothing is sent yet: what fails here can still be answered with an error.
 */
export async function prepare(
  { raw, response, signal }: Exchange,
  { status, headers, body = "" }: Reply,
  defaults: Headers,
): Promise<void> {
  const stream = body instanceof Readable ? body : undefined;
  // Whoever destroys the stream tells why; nobody else listens.
  stream?.on("error", () => {});
  try {
    response.statusCode = status;
    for (const name of response.getHeaderNames()) response.removeHeader(name);
    for (const [name, value] of [...Object.entries(defaults), ...Object.entries(headers)]) {
      if (name === "Vary") response.appendHeader(name, value);
      else response.setHeader(name, value);
    }
    if (stream && raw.method !== "HEAD") await firstBytes(addAbortSignal(signal, stream));
    if (!(body instanceof Readable) && mayHaveBody(status) && !response.hasHeader("Content-Length"))
      response.setHeader("Content-Length", Buffer.byteLength(body));
  } catch (error) {
    stream?.destroy();
    throw signal.aborted ? signal.reason : error;
  }
}

async function firstBytes(stream: Readable): Promise<void> {
  if (!stream.destroyed) await Promise.race([once(stream, "readable"), once(stream, "close")]);
  if (stream.destroyed) throw stream.errored ?? new Error("The body's stream ended early");
}

function mayHaveBody(status: number): boolean {
  return status !== 204 && status !== 304;
}

/**
 * Sends a prepared reply. A failure cuts the connection: the client must not take a part for the
 * whole. Before a `linger` the response is not ended, which would close the connection.
 */
export async function send(
  { raw, response, signal }: Exchange,
  { status, body = "" }: Reply,
  lingering: boolean,
): Promise<Delivery> {
  const delivery: Delivery = { bytes: 0 };
  try {
    if (raw.socket.destroyed) throw new ClientGone();
    // A stream that is not as long as was announced is a failure.
    response.strictContentLength = true;
    // Without a listener the socket's time-out destroys it.
    response.setTimeout(STALLED_READER_MS);
    const chunks = body instanceof Readable ? body : [Buffer.from(body)];
    for await (const chunk of raw.method === "HEAD" || !mayHaveBody(status) ? [] : chunks) {
      const more = response.write(chunk);
      delivery.bytes += chunk.length;
      if (!more) await once(response, "drain", { signal });
    }
    if (lingering) response.flushHeaders();
    else await end(response);
  } catch (error) {
    raw.socket.destroy();
    delivery.failure = signal.aborted ? signal.reason : error;
  } finally {
    if (body instanceof Readable) body.destroy();
  }
  return delivery;
}

function end(response: Exchange["response"]): Promise<void> {
  return new Promise((resolve, reject) => {
    response.once("finish", resolve).once("close", () => reject(new ClientGone()));
    response.end();
  });
}

/**
 * Reads on after an early answer, until the client is quiet or gone or has sent for long enough,
 * and closes the connection. Closing it at once would reset it under a client that still sends,
 * which would lose the answer (RFC 9112 §9.6).
 */
export async function linger({ raw, response }: Exchange): Promise<void> {
  const late = AbortSignal.timeout(LINGER_TOTAL_MS);
  try {
    for await (const _chunk of readChunks(raw, LINGER_QUIET_MS, late));
  } catch {
    // Quiet, gone or late: all the same.
  }
  await end(response).catch(() => {});
}
