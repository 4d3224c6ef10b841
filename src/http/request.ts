import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { Reply } from "./replies.ts";

/** One request, as handlers see it. `body.ts` and `multipart.ts` read its body. */
export interface Request {
  /** The `X-Request-Id`. */
  readonly id: string;
  readonly method: string;
  /** Percent-decoded path parameters by name. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  /** The client's address; behind a trusted proxy what the proxy says. */
  readonly address: string;
  /** Aborted when the client goes away before the answer is complete, or its body is malformed. */
  readonly signal: AbortSignal;
  /** The stream below; only `http/` touches it. */
  readonly raw: IncomingMessage;
  /** Tells a client that waits with `Expect: 100-continue` to send its body. */
  readonly sendContinue: () => void;
  /** A body that brings nothing for so many milliseconds while it is being read ends in 408. */
  readonly bodyIdleTimeoutMs: number;
  /** Put on the request's log line beside the kernel's own fields. */
  readonly logFields: Record<string, unknown>;
}

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

/** A row of the route table. `path` has parameters as `:name`; `level` says who passes. */
export interface Route<Level extends string = string, Caller = unknown> {
  readonly method: Method;
  readonly path: string;
  readonly level: Level;
  handler(request: Request, caller: Caller): Reply | Promise<Reply>;
}

/** Why a request ends whose client closed or lost its connection. */
export class ClientGone extends Error {
  override readonly name = "ClientGone";

  constructor() {
    super("The client went away");
  }
}
