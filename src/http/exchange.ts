import { AppError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { corsHeaders } from "./cors.ts";
import { defaultHeaders, errorReply, type Reply } from "./replies.ts";
import { type BodyTimeouts, ClientGone, type Request } from "./request.ts";
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
  authorize(level: string, request: Request): unknown;
  readonly log: Logger;
  /** Told of each request that `log` is told of, with the pattern that matched. */
  readonly onAnswered?:
    | ((method: string, route: string | undefined, status: number, seconds: number) => void)
    | undefined;
  readonly corsOrigins: readonly string[];
  readonly trustProxy: boolean;
  readonly timeouts: BodyTimeouts;
  /** While it is true, every answer is the last of its connection. */
  readonly isClosing: () => boolean;
}

/** Answers and logs one request, whatever happens. */
export async function serve(context: ServerContext, request: Request): Promise<void> {
  const started = performance.now();
  const { raw, response } = request;
  let failure: unknown;
  try {
    try {
      const sending = deliver(context, request, await answer(context, request));
      if (sending) await sending;
    } catch (error) {
      if (response.headersSent) throw error;
      const reply = errorReply(error);
      const isFault = reply.status >= 500 && reply.status !== NOT_IMPLEMENTED;
      if (isFault && !(error instanceof ClientGone)) failure = error ?? "nothing";
      await deliver(context, request, reply);
    }
  } catch (error) {
    failure ??= raw.socket.destroyed ? new ClientGone() : error;
    // The client must not take a part of the answer for the whole.
    raw.socket.destroy();
  }
  logRequest(context, request, performance.now() - started, failure);
  if (!response.writableEnded && raw.socket.writable) await linger(request);
}

async function answer(context: ServerContext, request: Request): Promise<Reply> {
  const { method, headers, logFields } = request;
  const { path, search } = checkRequest(request.raw);
  const { resource, params } = context.router(path);
  const { pattern, allow } = resource;
  logFields.route = pattern;
  if (method === "OPTIONS") {
    const cors = corsHeaders(headers, context.corsOrigins, allow);
    return { status: 204, headers: { Allow: allow, ...cors } };
  }
  const row = resource.route(method);
  request.params = params;
  request.search = search;
  const authorizing = context.authorize(row.level, request);
  const caller = authorizing instanceof Promise ? await authorizing : authorizing;
  if (request.ending) throw request.ending;
  return row.handler(request, caller);
}

function deliver(context: ServerContext, request: Request, reply: Reply) {
  const { id, headers, raw, response } = request;
  if (context.isClosing() || bodyIsUnderWay(raw)) response.shouldKeepAlive = false;
  const cors = corsHeaders(headers, context.corsOrigins);
  return send(request, reply, { ...defaultHeaders(id), ...cors, ...reply.headers });
}

/** An error is what a person must look at; what heals by itself is a warning. */
function levelOf(failure: unknown): "info" | "warn" | "error" {
  if (failure === undefined || failure instanceof ClientGone) return "info";
  const heals = ["unavailable", "insufficient_storage"];
  return failure instanceof AppError && heals.includes(failure.code) ? "warn" : "error";
}

function logRequest(
  { log, onAnswered }: ServerContext,
  { method, response, logFields }: Request,
  milliseconds: number,
  failure: unknown,
): void {
  const status = response.headersSent ? response.statusCode : CLIENT_CLOSED_REQUEST;
  onAnswered?.(method, logFields.route as string | undefined, status, milliseconds / 1000);
  logFields.status = status;
  logFields.duration_ms = Math.round(milliseconds);
  if (failure instanceof ClientGone) logFields.aborted = true;
  else if (failure) logFields.error = failure;
  log[levelOf(failure)]("request", logFields);
}
