import type { IncomingHttpHeaders } from "node:http";
import type { Headers } from "./replies.ts";

const EXPOSED_HEADERS =
  "X-Request-Id, X-Total-Count, Location, Content-Disposition, Content-Length, Content-Range, " +
  "Accept-Ranges, ETag, Retry-After";
const PREFLIGHT = {
  "Access-Control-Allow-Headers": "Authorization, Content-Type, X-Request-Id, Range, If-None-Match",
  "Access-Control-Max-Age": "600",
};

/**
 * The CORS headers of any answer (Fetch standard §3.2), by exact origin: none for a stranger.
 * Without origins CORS is off.
 */
export function corsHeaders(
  { origin = "" }: IncomingHttpHeaders,
  origins: readonly string[],
): Headers {
  if (origins.length === 0) return {};
  // Caches must know that the answer depends on the origin, also when there was none.
  if (!origins.includes(origin)) return { Vary: "Origin" };
  return {
    Vary: "Origin",
    "Access-Control-Allow-Origin": origin,
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Expose-Headers": EXPOSED_HEADERS,
  };
}

/** What a preflight is told beside `corsHeaders`; `allow` is the resource's `Allow`. */
export function preflightHeaders(
  { origin = "" }: IncomingHttpHeaders,
  origins: readonly string[],
  allow: string,
): Headers {
  return origins.includes(origin) ? { "Access-Control-Allow-Methods": allow, ...PREFLIGHT } : {};
}
