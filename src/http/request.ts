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
  /** The `X-Request-Id`. */
  readonly id: string;
  readonly method: string;
  readonly headers: IncomingHttpHeaders;
  readonly address: string;
  /** Percent-decoded path parameters by name. */
  params: Readonly<Record<string, string>> = {};
  /** The query, percent-encoded. */
  search = "";
  /** For the request's log line. */
  readonly logFields: Record<string, unknown> = {};
  // What is below only `http/` touches.
  readonly raw: IncomingMessage;
  readonly response: ServerResponse;
  readonly timeouts: BodyTimeouts;
  #ending: unknown;
  #abort: AbortController | undefined;

  constructor(
    raw: IncomingMessage,
    response: ServerResponse,
    { id, address, timeouts }: Pick<Request, "id" | "address" | "timeouts">,
  ) {
    this.id = id;
    this.method = raw.method ?? "";
    this.headers = raw.headers;
    this.address = address;
    this.raw = raw;
    this.response = response;
    this.timeouts = timeouts;
  }

  /** Aborted when the client goes away before its whole answer, or its body is malformed. */
  get signal(): AbortSignal {
    // Most requests end before anybody asks.
    this.#abort ??= new AbortController();
    if (this.#ending) this.#abort.abort(this.#ending);
    return this.#abort.signal;
  }

  /** The first reason for which the request ends early. */
  get ending(): unknown {
    return this.#ending;
  }

  abort(reason: Error): void {
    this.#ending ??= reason;
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
