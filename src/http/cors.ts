import type { IncomingHttpHeaders } from "node:http";
import type { Headers } from "./replies.ts";

const EXPOSED_HEADERS =
  "X-Request-Id, X-Total-Count, Location, Content-Disposition, Content-Length, Content-Range, " +
  "Accept-Ranges, ETag, Retry-After, Preference-Applied";
const ALLOWED_HEADERS =
  "Authorization, Content-Type, X-Request-Id, Range, If-Range, If-None-Match, Prefer";

/**
 * The CORS headers of an answer (Fetch standard §3.2), by exact origin: none for a stranger.
 * Without origins CORS is off. With `methods`, the resource's `Allow`, it answers a preflight.
 */
export function corsHeaders(
  { origin = "" }: IncomingHttpHeaders,
  origins: readonly string[],
  methods?: string,
): Headers | undefined {
  if (origins.length === 0) return undefined;
  // For caches, also when there was no origin.
  if (!origins.includes(origin)) return { Vary: "Origin" };
  return {
    Vary: "Origin",
    "Access-Control-Allow-Origin": origin,
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Expose-Headers": EXPOSED_HEADERS,
    ...(methods && {
      "Access-Control-Allow-Methods": methods,
      "Access-Control-Allow-Headers": ALLOWED_HEADERS,
      "Access-Control-Max-Age": "600",
    }),
  };
}
