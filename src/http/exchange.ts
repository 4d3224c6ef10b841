import type { IncomingMessage, ServerResponse } from "node:http";
import { STATUS } from "../errors.ts";
import type { Logger } from "../log.ts";
import { clientAddress } from "./client.ts";
import { corsHeaders, preflightHeaders } from "./cors.ts";
import { defaultHeaders, errorReply } from "./error-reply.ts";
import { announcedLength, announcesBody } from "./incoming.ts";
import type { Reply } from "./replies.ts";
import { ClientGone, type Request, type Route } from "./request.ts";
import type { Router } from "./router.ts";
import { type Delivery, linger, prepare, send } from "./sending.ts";
import { checkRequest } from "./strictness.ts";

/** Unread bodies up to this length are thrown away on a connection that goes on. */
const MAX_DISCARDED_BYTES = 64 * 1024;

/** The status in the log when the client went away before the answer began: nginx's number. */
const CLIENT_CLOSED_REQUEST = 499;

export interface ServerContext<Level extends string, Caller> {
  router: Router<Route<Level, Caller>>;
  authorize: (level: Level, request: Request) => Promise<Caller>;
  log: Logger;
  corsOrigins: readonly string[];
  trustProxy: boolean;
  bodyIdleTimeoutMs: number;
}

/** One request on its way through the server. */
export interface Exchange {
  readonly id: string;
  readonly raw: IncomingMessage;
  readonly response: ServerResponse;
  /** Aborted when the connection is lost (`ClientGone`) or the body is malformed (`AppError`). */
  readonly signal: AbortSignal;
  /** The client waits for `100 Continue` before it sends the body. */
  readonly expectsContinue: boolean;
  /** Whether the connection ends with this exchange whatever the client wishes. */
  readonly mustClose: () => boolean;
}

/** What is learned of a request on its way. */
interface About {
  readonly started: number;
  readonly address: string;
  readonly logFields: Record<string, unknown>;
  route?: string;
  wellFormed?: true;
  /** `100 Continue` was sent. */
  continued?: true;
}

/** Answers one request, whatever happens, and writes its log line. */
export async function serve<Level extends string, Caller>(
  context: ServerContext<Level, Caller>,
  exchange: Exchange,
): Promise<void> {
  const { id, raw, response } = exchange;
  const address = clientAddress(raw.headers, raw.socket.remoteAddress, context.trustProxy);
  const about: About = { started: performance.now(), address, logFields: {} };
  const prepared = async (reply: Reply): Promise<Reply> => {
    if (endsConnection(exchange, about, reply)) response.shouldKeepAlive = false;
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
  const lingering = !response.shouldKeepAlive && bodyIsUnderWay(raw);
  const delivery = await send(exchange, reply, lingering);
  logRequest(context.log, exchange, about, delivery, failure);
  if (lingering && !delivery.failure) await linger(exchange);
}

async function answer<Level extends string, Caller>(
  context: ServerContext<Level, Caller>,
  { id, raw, response, signal, expectsContinue }: Exchange,
  about: About,
): Promise<Reply> {
  const { path, query } = checkRequest(raw);
  about.wellFormed = true;
  const match = context.router.match(path);
  about.route = match.pattern;
  if (raw.method === "OPTIONS") {
    const preflight = preflightHeaders(raw.headers, context.corsOrigins, match.allow);
    return { status: 204, headers: { Allow: match.allow, ...preflight } };
  }
  const route = match.route(raw.method ?? "");
  const request: Request = {
    id,
    method: raw.method ?? "",
    params: match.params,
    query,
    headers: raw.headers,
    address: about.address,
    signal,
    raw,
    bodyIdleTimeoutMs: context.bodyIdleTimeoutMs,
    logFields: about.logFields,
    sendContinue() {
      if (!expectsContinue || about.continued) return;
      about.continued = true;
      response.writeContinue();
    },
  };
  const caller = await context.authorize(route.level, request);
  signal.throwIfAborted();
  return route.handler(request, caller);
}

/** Whether the answer is the connection's last. */
function endsConnection(exchange: Exchange, about: About, reply: Reply): boolean {
  const { raw, expectsContinue, mustClose } = exchange;
  if (mustClose() || !about.wellFormed || reply.status === STATUS.request_timeout) return true;
  // The rest of the body is too long to be thrown away, or was never asked for: it may come or not.
  const unasked = expectsContinue && !about.continued;
  const long =
    raw.headers["transfer-encoding"] !== undefined ||
    announcedLength(raw.headers) > MAX_DISCARDED_BYTES;
  return bodyIsUnderWay(raw) && (unasked || long);
}

function bodyIsUnderWay(raw: IncomingMessage): boolean {
  return announcesBody(raw.headers) && !raw.complete;
}

function logRequest(
  log: Logger,
  { id, raw, response }: Exchange,
  about: About,
  delivery: Delivery,
  failure: unknown,
): void {
  const status = response.headersSent ? response.statusCode : CLIENT_CLOSED_REQUEST;
  const fields = {
    method: raw.method,
    route: about.route,
    status,
    duration_ms: Math.round(performance.now() - about.started),
    bytes: delivery.bytes,
    address: about.address,
    request_id: id,
    ...about.logFields,
  };
  const error = delivery.failure ?? (status >= 500 ? failure : undefined);
  if (delivery.failure instanceof ClientGone) log.info("request", { ...fields, aborted: true });
  else if (error !== undefined || status >= 500) log.error("request", { ...fields, error });
  else log.info("request", fields);
}
