import { STATUS } from "../errors.ts";
import type { Logger } from "../log.ts";
import { clientAddress } from "./client.ts";
import { corsHeaders, preflightHeaders } from "./cors.ts";
import { errorReply } from "./error-reply.ts";
import type { Reply } from "./replies.ts";
import { ClientGone, type Request, type Route } from "./request.ts";
import type { Router } from "./router.ts";
import { type Channel, type Delivery, linger, send } from "./sending.ts";
import { checkRequest } from "./strictness.ts";

/** Unread bodies up to this length are thrown away on a connection that lives on; longer ones end it. */
const MAX_DISCARDED_BYTES = 64 * 1024;

/** The status in the log of a request whose client went away before the answer began (nginx's number; no such answer exists). */
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
export interface Exchange extends Channel {
  readonly id: string;
  /** The client waits for `100 Continue` before it sends the body. */
  readonly expectsContinue: boolean;
  /** Whether the connection ends with this exchange whatever the client wishes. */
  readonly mustClose: () => boolean;
  /** Called before an answer that is followed by reading on: further requests of the connection have no meaning. */
  readonly onLinger: () => void;
  /** The status that the parser's error handler answered with instead. */
  readonly refusedWith: () => number | undefined;
}

/** Answers one request, whatever happens, and writes its log line. */
export async function serve<Level extends string, Caller>(
  context: ServerContext<Level, Caller>,
  exchange: Exchange,
): Promise<void> {
  const { raw, response, signal } = exchange;
  const started = performance.now();
  const address = clientAddress(raw.headers, raw.socket.remoteAddress, context.trustProxy);
  const about: About = { route: undefined, logFields: {}, continued: false, wellFormed: false };

  let reply: Reply;
  let failure: unknown;
  try {
    reply = await answer(context, exchange, address, about);
  } catch (error) {
    failure = error;
    reply = errorReply(error);
  }

  const close =
    !response.shouldKeepAlive ||
    !about.wellFormed ||
    exchange.mustClose() ||
    reply.status === STATUS.request_timeout ||
    blocksConnection(exchange, about);
  const lingering = close && bodyIsUnderWay(exchange);
  const options = {
    keepOpen: lingering,
    defaults: {
      "X-Request-Id": exchange.id,
      "X-Content-Type-Options": "nosniff",
      "Cache-Control": "no-store",
      ...(close ? { Connection: "close" } : {}),
      ...corsHeaders(raw.headers, context.corsOrigins),
    },
  };
  if (lingering) exchange.onLinger();
  // What no handler read is thrown away: a client that sends it all before it reads the answer must get so far.
  raw.resume();

  let delivery: Delivery;
  try {
    delivery = await send(exchange, reply, options);
  } catch (error) {
    failure ??= error;
    delivery = signal.aborted
      ? { bytes: 0, failure: signal.reason }
      : await send(exchange, errorReply(error), options);
  }
  logRequest();
  if (lingering) await linger(exchange);

  function logRequest() {
    const aborted = delivery.failure instanceof ClientGone;
    const status = response.headersSent
      ? response.statusCode
      : (exchange.refusedWith() ?? CLIENT_CLOSED_REQUEST);
    const error = delivery.failure ?? (status >= 500 ? failure : undefined);
    const fields = {
      method: raw.method,
      route: about.route,
      status,
      duration_ms: Math.round(performance.now() - started),
      bytes: delivery.bytes,
      address,
      request_id: exchange.id,
      ...about.logFields,
    };
    if (aborted) context.log.info("request", { ...fields, aborted });
    else if (error !== undefined || status >= 500)
      context.log.error("request", { ...fields, error });
    else context.log.info("request", fields);
  }
}

/** What is learned of a request on its way. */
interface About {
  route: string | undefined;
  logFields: Record<string, unknown>;
  /** `100 Continue` was sent. */
  continued: boolean;
  wellFormed: boolean;
}

async function answer<Level extends string, Caller>(
  context: ServerContext<Level, Caller>,
  { id, raw, response, signal, expectsContinue }: Exchange,
  address: string,
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
    address,
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
  return route.handler(request, caller);
}

function bodyIsUnderWay({ raw }: Exchange): boolean {
  const announced =
    raw.headers["transfer-encoding"] !== undefined ||
    Number(raw.headers["content-length"] ?? 0) > 0;
  return announced && !raw.complete;
}

/** Whether the rest of a body is too long to be thrown away in passing, or was never asked for, so that it may come or not. */
function blocksConnection(exchange: Exchange, { continued }: About): boolean {
  const { headers } = exchange.raw;
  const unasked = exchange.expectsContinue && !continued;
  const long =
    headers["transfer-encoding"] !== undefined ||
    Number(headers["content-length"]) > MAX_DISCARDED_BYTES;
  return bodyIsUnderWay(exchange) && (unasked || long);
}
