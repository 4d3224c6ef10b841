import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { Reply } from "./replies.ts";

/** The bodies' time-outs, in milliseconds; what is later ends in 408. */
export interface BodyTimeouts {
  /** Without a byte, while the body is read. */
  readonly bodyIdleTimeoutMs: number;
  /** For a whole JSON or form body. */
  readonly bodyTimeoutMs: number;
}

/** One request, as handlers see it. */
export class Request {
  readonly method: string;
  readonly headers: IncomingHttpHeaders;
  /** The `X-Request-Id`. */
  readonly id: string;
  readonly address: string;
  /** Percent-decoded path parameters by name. */
  params: Readonly<Record<string, string>> = {};
  /** The query, percent-encoded. */
  search = "";
  /** The request's log line. */
  readonly logFields: Record<string, unknown>;
  // What is below only `http/` touches.
  readonly raw: IncomingMessage;
  readonly response: ServerResponse;
  readonly timeouts: BodyTimeouts;
  /** Why it ends early. */
  ending: unknown;
  #abort: AbortController | undefined;

  constructor(own: Pick<Request, "id" | "address" | "raw" | "response" | "timeouts">) {
    this.method = own.raw.method ?? "";
    this.headers = own.raw.headers;
    this.id = own.id;
    this.address = own.address;
    this.raw = own.raw;
    this.response = own.response;
    this.timeouts = own.timeouts;
    const { method, address, id: request_id } = this;
    this.logFields = { method, status: 0, duration_ms: 0, address, request_id };
  }

  /** Aborted when the client goes away before its whole answer, or its body is malformed. */
  get signal(): AbortSignal {
    // Most requests end before anybody asks.
    this.#abort ??= new AbortController();
    if (this.ending) this.#abort.abort(this.ending);
    return this.#abort.signal;
  }

  abort(reason: Error): void {
    this.ending ??= reason;
    this.#abort?.abort(reason);
  }
}

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
