import { randomUUID } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { isIP, isIPv4 } from "node:net";

/** The client's own `X-Request-Id` when it is 1–128 of `[A-Za-z0-9._-]`, else a new UUID. */
export function requestId(headers: IncomingHttpHeaders): string {
  const own = headers["x-request-id"];
  return typeof own === "string" && /^[A-Za-z0-9._-]{1,128}$/.test(own) ? own : randomUUID();
}

/**
 * The client's address: behind a trusted proxy the last hop of `X-Forwarded-For`, which that proxy wrote itself, else the peer's.
 * IPv4 in IPv6 (`::ffff:`) comes out as IPv4.
 */
export function clientAddress(
  headers: IncomingHttpHeaders,
  peer: string | undefined,
  trustProxy: boolean,
): string {
  const forwarded = trustProxy ? forwardedAddress(headers["x-forwarded-for"]) : undefined;
  const address = forwarded ?? peer ?? "unknown";
  const mapped = address.replace(/^::ffff:/i, "");
  return isIPv4(mapped) ? mapped : address;
}

function forwardedAddress(header: string | string[] | undefined): string | undefined {
  const hop = String(header ?? "")
    .split(",")
    .at(-1)
    ?.trim();
  // Some proxies add the port, and brackets around IPv6.
  const bare =
    /^\[([^\]]+)\](?::\d+)?$/.exec(hop ?? "")?.[1] ?? hop?.replace(/^([\d.]+):\d+$/, "$1");
  return bare !== undefined && isIP(bare) !== 0 ? bare : undefined;
}
