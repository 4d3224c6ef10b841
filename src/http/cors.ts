import type { IncomingHttpHeaders } from "node:http";
import type { Headers } from "./replies.ts";

const ALLOWED_HEADERS = "Authorization, Content-Type, X-Request-Id, Range, If-None-Match";
const EXPOSED_HEADERS = [
  "X-Request-Id",
  "X-Total-Count",
  "Location",
  "Content-Disposition",
  "Content-Length",
  "Content-Range",
  "Accept-Ranges",
  "ETag",
  "Retry-After",
].join(", ");
const PREFLIGHT_MAX_AGE_SECONDS = "600";

/** The CORS headers of any answer (Fetch standard §3.2): by exact origin, none for a stranger. Without origins CORS is off. */
export function corsHeaders(headers: IncomingHttpHeaders, origins: readonly string[]): Headers {
  if (origins.length === 0) return {};
  const { origin } = headers;
  // Caches must know that the answer depends on the origin, also when there was none.
  if (origin === undefined || !origins.includes(origin)) return { Vary: "Origin" };
  return {
    Vary: "Origin",
    "Access-Control-Allow-Origin": origin,
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Expose-Headers": EXPOSED_HEADERS,
  };
}

/** What a preflight is told beside `corsHeaders`; `allow` is the resource's `Allow`. Empty when this is no preflight of a friend. */
export function preflightHeaders(
  headers: IncomingHttpHeaders,
  origins: readonly string[],
  allow: string,
): Headers {
  const { origin } = headers;
  if (origin === undefined || !origins.includes(origin)) return {};
  if (headers["access-control-request-method"] === undefined) return {};
  return {
    "Access-Control-Allow-Methods": allow,
    "Access-Control-Allow-Headers": ALLOWED_HEADERS,
    "Access-Control-Max-Age": PREFLIGHT_MAX_AGE_SECONDS,
  };
}
