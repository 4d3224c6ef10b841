import { randomUUID } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { isIP, isIPv4 } from "node:net";

/** The client's own `X-Request-Id` when it is 1–128 of `[A-Za-z0-9._-]`, else a new UUID. */
export function requestId(headers: IncomingHttpHeaders): string {
  const own = headers["x-request-id"];
  return typeof own === "string" && /^[A-Za-z0-9._-]{1,128}$/.test(own) ? own : randomUUID();
}

/**
 * The client's address: behind a trusted proxy the last hop of `X-Forwarded-For`, which that proxy
 * wrote itself, else the peer's. IPv4 in IPv6 (`::ffff:`) comes out as IPv4.
 */
export function clientAddress(
  headers: IncomingHttpHeaders,
  peer: string | undefined,
  trustProxy: boolean,
): string {
  const hop = trustProxy ? lastHop(String(headers["x-forwarded-for"])) : "";
  const address = isIP(hop) ? hop : (peer ?? "unknown");
  const mapped = address.replace(/^::ffff:/i, "");
  return isIPv4(mapped) ? mapped : address;
}

/** Without the port and the brackets around IPv6 that some proxies add. */
function lastHop(forwarded: string): string {
  const hop = forwarded.slice(forwarded.lastIndexOf(",") + 1).trim();
  return hop.replace(/^\[([^\]]+)\](:\d+)?$/, "$1").replace(/^([\d.]+):\d+$/, "$1");
}
