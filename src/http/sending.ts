import type { IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Headers, Reply } from "./replies.ts";
import { ClientGone } from "./request.ts";

/** A reader that takes nothing for so long is cut off, in milliseconds. */
const STALLED_READER_MS = 120_000;
const LINGER_QUIET_MS = 1_000;
const LINGER_IDLE_MS = 5_000;
const LINGER_TOTAL_MS = 30_000;

export interface Channel {
  raw: IncomingMessage;
  response: ServerResponse;
  /** Aborted when the connection is lost. */
  signal: AbortSignal;
}

/** Body bytes handed to the connection, and what kept the reply from being complete: `ClientGone`, or a fault of the body's stream. */
export interface Delivery {
  bytes: number;
  failure?: unknown;
}

/**
 * Sends `reply` with the `defaults` where it has no header of its own. With `keepOpen` the response is complete but the connection is not
 * closed after it: the caller goes on with `linger`. Rejects when nothing was sent yet; after the headers a failure destroys the connection.
 */
export async function send(
  channel: Channel,
  reply: Reply,
  options: { defaults: Headers; keepOpen: boolean },
): Promise<Delivery> {
  const { response, signal, raw } = channel;
  const { body, status } = reply;
  const stream = body instanceof Readable ? body : undefined;
  // One that is destroyed may still tell of an error, and nobody else listens.
  stream?.on("error", () => {});
  const noContent = status === 204 || status === 304;
  try {
    signal.throwIfAborted();
    response.statusCode = status;
    setHeaders(response, options.defaults, reply.headers);
    const payload = body instanceof Readable ? undefined : Buffer.from(body ?? "");
    // A reply to HEAD has its own, for the body that it does not bring.
    if (payload && !noContent && !response.hasHeader("Content-Length")) {
      response.setHeader("Content-Length", payload.length);
    }
    // Without a listener the socket's time-out destroys it.
    response.setTimeout(STALLED_READER_MS);
    if (stream && !noContent && raw.method !== "HEAD") {
      await firstChunk(stream, signal);
      return await sendStream(channel, stream, options.keepOpen);
    }
    return await sendPayload(
      channel,
      noContent || raw.method === "HEAD" ? undefined : payload,
      options.keepOpen,
    );
  } finally {
    stream?.destroy();
  }
}

function setHeaders(response: ServerResponse, defaults: Headers, own: Headers): void {
  for (const name of response.getHeaderNames()) response.removeHeader(name);
  for (const [name, value] of Object.entries(defaults)) response.setHeader(name, value);
  for (const [name, value] of Object.entries(own)) {
    if (name.toLowerCase() === "vary") response.appendHeader(name, value);
    else response.setHeader(name, value);
  }
}

async function sendPayload(
  { response, signal }: Channel,
  payload: Buffer | undefined,
  keepOpen: boolean,
): Promise<Delivery> {
  const sent = await new Promise<boolean>((resolve) => {
    signal.addEventListener("abort", () => resolve(false), { once: true });
    if (!keepOpen) {
      response.once("finish", () => resolve(true)).end(payload);
    } else if (payload === undefined || payload.length === 0) {
      response.flushHeaders();
      resolve(true);
    } else {
      response.write(payload, (error) => resolve(!error));
    }
  });
  return sent ? { bytes: payload?.length ?? 0 } : { bytes: 0, failure: new ClientGone() };
}

/** Waits for the first bytes, so that a stream that fails at once can still be answered with an error. */
async function firstChunk(stream: Readable, signal: AbortSignal): Promise<void> {
  if (stream.errored) throw stream.errored;
  if (stream.destroyed) throw new Error("The body's stream was destroyed before it was sent");
  await new Promise<void>((resolve, reject) => {
    const onClose = () => settle(() => reject(new Error("The body's stream ended early")));
    const onError = (error: unknown) => settle(() => reject(error));
    const onReadable = () => settle(resolve);
    const onAbort = () => settle(() => reject(signal.reason));
    const settle = (act: () => void) => {
      stream.off("close", onClose).off("error", onError).off("readable", onReadable);
      signal.removeEventListener("abort", onAbort);
      act();
    };
    stream.on("close", onClose).on("error", onError).on("readable", onReadable);
    signal.addEventListener("abort", onAbort);
  });
}

async function sendStream(
  { raw, response }: Channel,
  stream: Readable,
  keepOpen: boolean,
): Promise<Delivery> {
  const header = response.getHeader("content-length");
  const expected = header === undefined ? undefined : Number(header);
  let bytes = 0;
  let failure: unknown;
  const blame = (error: unknown) => {
    failure ??= raw.socket.destroyed ? new ClientGone() : error;
  };
  // The first event tells who failed: pipeline destroys the other side too.
  stream.once("error", blame);
  async function* counted(chunks: AsyncIterable<Buffer>) {
    for await (const chunk of chunks) {
      if (expected !== undefined && bytes + chunk.length > expected) break;
      bytes += chunk.length;
      yield chunk;
    }
    if (expected === undefined || bytes === expected) return;
    const error = new Error(
      `The body's stream does not have the ${expected} bytes that were announced`,
    );
    blame(error);
    throw error;
  }
  try {
    // The last chunk of a chunked body is written by `end`.
    await pipeline(stream, counted, response, { end: !keepOpen || expected === undefined });
    return { bytes };
  } catch (error) {
    blame(error);
    raw.socket.destroy();
    return { bytes, failure };
  }
}

/**
 * Closes the connection after an early answer: what the client still sends is read and thrown away, for a bounded time. Closing at once
 * would reset the connection under a client that still sends, and it would lose the answer (RFC 9112 §9.6).
 */
export async function linger({ raw, response, signal }: Channel): Promise<void> {
  await new Promise<void>((resolve) => {
    const settle = () => {
      for (const timer of [total, quiet, idle]) clearTimeout(timer);
      raw.off("data", watch).off("end", settle).off("close", settle);
      signal.removeEventListener("abort", settle);
      resolve();
    };
    // Half-closing under a client that still sends makes some give up (node's own does): only one that waits is told the end.
    const endOurs = () => response.socket?.end();
    const watch = () => {
      clearTimeout(quiet);
      clearTimeout(idle);
      quiet = setTimeout(endOurs, LINGER_QUIET_MS);
      idle = setTimeout(settle, LINGER_IDLE_MS);
    };
    const total = setTimeout(settle, LINGER_TOTAL_MS);
    let quiet: NodeJS.Timeout | undefined;
    let idle: NodeJS.Timeout | undefined;
    if (raw.readableEnded || raw.destroyed) return settle();
    raw.on("data", watch).on("end", settle).on("close", settle);
    signal.addEventListener("abort", settle);
    watch();
    raw.resume();
  });
  raw.socket.destroySoon();
}
