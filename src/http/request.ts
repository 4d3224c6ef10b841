import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { Reply } from "./replies.ts";

/** One request, as handlers see it. */
export interface Request {
  /** The `X-Request-Id`. */
  readonly id: string;
  readonly method: string;
  /** Percent-decoded path parameters by name. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly address: string;
  /** Aborted when the client goes away before its whole answer, or its body is malformed. */
  readonly signal: AbortSignal;
  /** For the request's log line. */
  readonly logFields: Record<string, unknown>;
  // What is below only `http/` touches.
  readonly raw: IncomingMessage;
  readonly response: ServerResponse;
  /** A body that brings nothing for so long while it is read ends in 408. */
  readonly bodyIdleTimeoutMs: number;
  /** A JSON or form body that is not whole after so long ends in 408. */
  readonly bodyTimeoutMs: number;
}

/** A request whose target was not looked at yet. */
export type Incoming = Omit<Request, "params" | "query">;

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

/** A row of the route table. `path` has parameters as `:name`; `level` says who passes. */
export interface Route<Level extends string = string, Caller = unknown> {
  readonly method: Method;
  readonly path: string;
  readonly level: Level;
  handler(request: Request, caller: Caller): Reply | Promise<Reply>;
}

/** The client closed or lost its connection. */
export class ClientGone extends Error {
  override readonly name = "ClientGone";
}
