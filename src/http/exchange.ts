import type { IncomingMessage, ServerResponse } from "node:http";
import type { Logger } from "../log.ts";
import { clientAddress } from "./client.ts";
import { corsHeaders, preflightHeaders } from "./cors.ts";
import { announcesBody } from "./incoming.ts";
import { defaultHeaders, errorReply, type Reply } from "./replies.ts";
import { ClientGone, type Request } from "./request.ts";
import type { Router } from "./router.ts";
import { type Delivery, linger, prepare, send } from "./sending.ts";
import { checkRequest } from "./strictness.ts";

/** The status in the log when the client went away before the answer began: nginx's number. */
const CLIENT_CLOSED_REQUEST = 499;

export interface ServerContext {
  readonly router: Router;
  /** Says who calls, or throws, before any byte of a body is read. */
  authorize(level: string, request: Request): Promise<unknown>;
  readonly log: Logger;
  /** The origins that CORS lets in. */
  readonly corsOrigins: readonly string[];
  /** Whether the last hop of `X-Forwarded-For` is the client. */
  readonly trustProxy: boolean;
  readonly bodyIdleTimeoutMs: number;
  /** While it is true, every answer is the last of its connection. */
  readonly isClosing: () => boolean;
}

/** One request on its way through the server. */
export interface Exchange {
  readonly id: string;
  readonly raw: IncomingMessage;
  readonly response: ServerResponse;
  /** Aborted when the connection is lost (`ClientGone`) or the body is malformed (`AppError`). */
  readonly signal: AbortSignal;
}

/** What is learned of a request on its way. */
interface About {
  readonly started: number;
  readonly address: string;
  readonly logFields: Record<string, unknown>;
  route?: string;
  wellFormed?: true;
}

/** Answers one request, whatever happens, and writes its log line. */
export async function serve(context: ServerContext, exchange: Exchange): Promise<void> {
  const { id, raw, response } = exchange;
  const address = clientAddress(raw.headers, raw.socket.remoteAddress, context.trustProxy);
  const about: About = { started: performance.now(), address, logFields: {} };
  const prepared = async (reply: Reply): Promise<Reply> => {
    // A body that did not come whole may be long, or never come.
    if (context.isClosing() || !about.wellFormed || bodyIsUnderWay(raw))
      response.shouldKeepAlive = false;
    const cors = corsHeaders(raw.headers, context.corsOrigins);
    await prepare(exchange, reply, { ...defaultHeaders(id), ...cors });
    return reply;
  };
  let failure: unknown;
  const reply = await answer(context, exchange, about)
    .then(prepared)
    .catch((error) => {
      failure = error;
      return prepared(errorReply(error));
    });
  // What no handler read is thrown away: many clients send it all before they read the answer.
  raw.resume();
  const lingering = bodyIsUnderWay(raw);
  const delivery = await send(exchange, reply, lingering);
  logRequest(context.log, exchange, about, delivery, failure);
  if (lingering && !delivery.failure) await linger(exchange);
}

function bodyIsUnderWay(raw: IncomingMessage): boolean {
  return announcesBody(raw.headers) && !raw.complete;
}

async function answer(
  context: ServerContext,
  { id, raw, response, signal }: Exchange,
  about: About,
): Promise<Reply> {
  const { path, query } = checkRequest(raw);
  about.wellFormed = true;
  const { pattern, params, allow, route } = context.router(path);
  about.route = pattern;
  const { headers, method = "" } = raw;
  if (method === "OPTIONS") {
    const preflight = preflightHeaders(headers, context.corsOrigins, allow);
    return { status: 204, headers: { Allow: allow, ...preflight } };
  }
  const row = route(method);
  const request: Request = {
    id,
    method,
    params,
    query,
    headers,
    address: about.address,
    signal,
    raw,
    sendContinue() {
      if (raw.httpVersion === "1.1" && /^100-continue$/i.test(headers.expect ?? ""))
        response.writeContinue();
    },
    bodyIdleTimeoutMs: context.bodyIdleTimeoutMs,
    logFields: about.logFields,
  };
  const caller = await context.authorize(row.level, request);
  signal.throwIfAborted();
  return row.handler(request, caller);
}

function logRequest(
  log: Logger,
  { id, raw, response }: Exchange,
  { started, address, logFields, route }: About,
  delivery: Delivery,
  failure: unknown,
): void {
  const status = response.headersSent ? response.statusCode : CLIENT_CLOSED_REQUEST;
  const fields = {
    method: raw.method,
    route,
    status,
    duration_ms: Math.round(performance.now() - started),
    bytes: delivery.bytes,
    address,
    request_id: id,
    ...logFields,
  };
  const error = delivery.failure ?? (status >= 500 ? failure : undefined);
  if (delivery.failure instanceof ClientGone) log.info("request", { ...fields, aborted: true });
  else if (error !== undefined || status >= 500) log.error("request", { ...fields, error });
  else log.info("request", fields);
}
