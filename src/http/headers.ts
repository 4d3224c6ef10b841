import { randomUUID } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { isIP, isIPv4 } from "node:net";

/** Of this process: a number at the end makes it a UUID. */
const ID_PREFIX = randomUUID().slice(0, -12);
let requests = 0;

/** The client's own `X-Request-Id` when it is 1–128 of `[A-Za-z0-9._-]`, else a new UUID. */
export function requestId(headers: IncomingHttpHeaders): string {
  const own = headers["x-request-id"];
  if (typeof own === "string" && /^[A-Za-z0-9._-]{1,128}$/.test(own)) return own;
  requests += 1;
  return ID_PREFIX + requests.toString(16).padStart(12, "0");
}

/**
 * The client's address: behind a trusted proxy the last hop of `X-Forwarded-For`, else the peer's.
 * IPv4 in IPv6 (`::ffff:`) comes out as IPv4.
 */
export function clientAddress(peer = "unknown", forwarded = ""): string {
  // Some proxies add a port, and brackets around IPv6.
  const hop = forwarded
    .slice(forwarded.lastIndexOf(",") + 1)
    .trim()
    .replace(/^\[([^\]]+)\](:\d+)?$/, "$1")
    .replace(/^([\d.]+):\d+$/, "$1");
  const address = isIP(hop) ? hop : peer;
  const mapped = address.replace(/^::ffff:/i, "");
  return isIPv4(mapped) ? mapped : address;
}

/** Bytes of the body; 0 when it is chunked. */
export function announcedLength(headers: IncomingHttpHeaders): number {
  return Number(headers["content-length"] ?? 0);
}

/** A chunked body may still turn out empty. */
export function announcesBody(headers: IncomingHttpHeaders): boolean {
  return headers["transfer-encoding"] !== undefined || announcedLength(headers) > 0;
}

/** Without quotes it may have blanks: clients send such names. */
const PARAMETER =
  /[ \t]*;[ \t]*(?:$|([!#$%&'*+.^_`|~\w-]+)=(?:"((?:[^"\\]|\\.)*)"[ \t]*|([^;"\s][^;"]*)))/sy;
const MEDIA_TYPE = /^[!#$%&'*+.^_`|~\w-]+\/[!#$%&'*+.^_`|~\w-]+$/;

/**
 * Splits `value; name=parameter; name="parameter"`, value and names in lower case. Undefined when
 * it is malformed or names a parameter twice.
 */
export function parseParameterised(text: string) {
  const [value = ""] = text.split(";", 1);
  const parameters = new Map<string, string>();
  PARAMETER.lastIndex = value.length;
  while (PARAMETER.lastIndex < text.length) {
    const [match, name, quoted, bare = ""] = PARAMETER.exec(text) ?? [];
    if (match === undefined) return undefined;
    // A semicolon ends the value.
    if (name === undefined) break;
    if (parameters.has(name.toLowerCase())) return undefined;
    // Only `\"` and `\\` are escapes: browsers send any other backslash as it is.
    const parameter = quoted?.replace(/\\(["\\])/g, "$1") ?? bare.trimEnd();
    parameters.set(name.toLowerCase(), parameter);
  }
  return { value: value.trim().toLowerCase(), parameters };
}

/** A media type (RFC 9110 §8.3.1), or undefined when there is no well-formed one. */
export function parseMediaType(header = "") {
  const parsed = parseParameterised(header);
  return MEDIA_TYPE.test(parsed?.value ?? "") ? parsed : undefined;
}
