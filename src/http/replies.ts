import type { Readable } from "node:stream";
import { AppError, STATUS } from "../errors.ts";

export type Headers = Readonly<Record<string, string>>;

/** What a handler answers. A stream is destroyed when it is not sent to its end. */
export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly body?: string | Buffer | Readable;
}

/** A JSON answer, in UTF-8. Dates come out as RFC 3339 in UTC with a `Z`. */
export function json(value: unknown, status = 200, headers: Headers = {}): Reply {
  const type = { "Content-Type": "application/json; charset=utf-8" };
  return { status, headers: { ...type, ...headers }, body: JSON.stringify(value) };
}

/** 201 with the address of what was made. */
export function created(location: string, value: unknown): Reply {
  return json(value, 201, { Location: location });
}

export function noContent(): Reply {
  return { status: 204, headers: {} };
}

/** The answer to a failure; of what is no AppError nothing is told. */
export function errorReply(error: unknown): Reply {
  if (!(error instanceof AppError)) return json({ detail: "Internal Server Error" }, 500);
  const status = STATUS[error.code];
  const headers: Record<string, string> = { ...error.headers };
  if (status === 401) headers["WWW-Authenticate"] = "Bearer";
  if (status === 429 || status === 503) headers["Retry-After"] ??= "5";
  return json({ detail: error.detail }, status, headers);
}

/** The headers of every answer whose handler says nothing else. */
export function defaultHeaders(requestId: string): Headers {
  return {
    "X-Request-Id": requestId,
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
  };
}
