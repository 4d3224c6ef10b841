import type { IncomingMessage, ServerResponse } from "node:http";
import { AppError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { corsHeaders } from "./cors.ts";
import { clientAddress, requestId } from "./headers.ts";
import { defaultHeaders, errorReply, type Reply } from "./replies.ts";
import { ClientGone, type Incoming, type Request } from "./request.ts";
import type { Router } from "./router.ts";
import { bodyIsUnderWay, linger, send } from "./sending.ts";
import { checkRequest } from "./strictness.ts";

/** nginx's number, for the log. */
const CLIENT_CLOSED_REQUEST = 499;
/** What a client asked for, like the statuses below 500. */
const NOT_IMPLEMENTED = 501;

export interface ServerContext {
  readonly router: Router;
  /** Who calls; or throws, before a byte of the body is read. */
  authorize(level: string, request: Request): Promise<unknown>;
  readonly log: Logger;
  /** Told of each request that `log` is told of, with the pattern that matched. */
  readonly onAnswered?:
    | ((method: string, route: string | undefined, status: number, seconds: number) => void)
    | undefined;
  readonly corsOrigins: readonly string[];
  readonly trustProxy: boolean;
  readonly bodyIdleTimeoutMs: number;
  readonly bodyTimeoutMs: number;
  /** While it is true, every answer is the last of its connection. */
  readonly isClosing: () => boolean;
}

/** Answers and logs one request, whatever happens. */
export async function serve(
  context: ServerContext,
  raw: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  const started = performance.now();
  const { headers, method = "" } = raw;
  const request: Incoming = {
    id: requestId(headers),
    method,
    headers,
    address: clientAddress(headers, raw.socket.remoteAddress, context.trustProxy),
    signal,
    raw,
    response,
    bodyIdleTimeoutMs: context.bodyIdleTimeoutMs,
    bodyTimeoutMs: context.bodyTimeoutMs,
    logFields: {},
  };
  const deliver = (reply: Reply) => {
    if (context.isClosing() || bodyIsUnderWay(raw)) response.shouldKeepAlive = false;
    const cors = corsHeaders(headers, context.corsOrigins);
    return send(request, reply, { ...defaultHeaders(request.id), ...cors });
  };
  let failure: unknown;
  try {
    await answer(context, request)
      .then(deliver)
      .catch(async (error) => {
        if (response.headersSent) throw error;
        const reply = errorReply(error);
        const isFault = reply.status >= 500 && reply.status !== NOT_IMPLEMENTED;
        if (isFault && !(error instanceof ClientGone)) failure = error ?? "nothing";
        await deliver(reply);
      });
  } catch (error) {
    failure ??= raw.socket.destroyed ? new ClientGone() : error;
    // The client must not take a part of the answer for the whole.
    raw.socket.destroy();
  }
  logRequest(context, request, performance.now() - started, failure);
  if (!response.writableEnded && raw.socket.writable) await linger(request);
}

async function answer(context: ServerContext, incoming: Incoming): Promise<Reply> {
  const { method, headers, signal, raw, logFields } = incoming;
  const { path, query } = checkRequest(raw);
  const { pattern, params, allow, route } = context.router(path);
  logFields.route = pattern;
  if (method === "OPTIONS") {
    const cors = corsHeaders(headers, context.corsOrigins, allow);
    return { status: 204, headers: { Allow: allow, ...cors } };
  }
  const row = route(method);
  const request = { ...incoming, params, query };
  const caller = await context.authorize(row.level, request);
  signal.throwIfAborted();
  return row.handler(request, caller);
}

/** An error is what a person must look at; what heals by itself is a warning. */
function levelOf(failure: unknown): "info" | "warn" | "error" {
  if (failure === undefined) return "info";
  const heals = ["unavailable", "insufficient_storage"];
  return failure instanceof AppError && heals.includes(failure.code) ? "warn" : "error";
}

function logRequest(
  { log, onAnswered }: ServerContext,
  { id, method, address, response, logFields }: Incoming,
  milliseconds: number,
  failure: unknown,
): void {
  const status = response.headersSent ? response.statusCode : CLIENT_CLOSED_REQUEST;
  onAnswered?.(method, logFields.route as string | undefined, status, milliseconds / 1000);
  const duration_ms = Math.round(milliseconds);
  const fields = { method, status, duration_ms, address, request_id: id, ...logFields };
  if (failure instanceof ClientGone) log.info("request", { ...fields, aborted: true });
  else log[levelOf(failure)]("request", { ...fields, error: failure });
}
