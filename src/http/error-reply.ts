import { AppError, STATUS } from "../errors.ts";
import { type Headers, json, type Reply } from "./replies.ts";

const DEFAULT_RETRY_AFTER_SECONDS = "5";

/**
 * The one place where a failure becomes an answer. What is no AppError is told as `Internal Server
 * Error` and nothing more.
 */
export function errorReply(error: unknown): Reply {
  if (!(error instanceof AppError))
    return json({ detail: "Internal Server Error" }, STATUS.internal);
  const status = STATUS[error.code];
  const headers: Record<string, string> = { ...error.headers };
  if (status === 401) headers["WWW-Authenticate"] = "Bearer";
  if (status === 429 || status === 503) headers["Retry-After"] ??= DEFAULT_RETRY_AFTER_SECONDS;
  return json({ detail: error.detail }, status, headers);
}

/** The headers that every answer has unless its handler says otherwise. */
export function defaultHeaders(requestId: string): Headers {
  return {
    "X-Request-Id": requestId,
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
  };
}
