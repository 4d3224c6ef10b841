import type { IncomingMessage } from "node:http";
import { AppError, type Code } from "../errors.ts";

/** Fields of one line (RFC 9110 §5.3): a proxy could read another one than this server. */
const SINGLE = ["host", "authorization", "content-length", "content-type"];
const HOST = /^[A-Za-z0-9._~!$&'()*+,;=%:[\]-]*$/;

/**
 * The target of a request (RFC 9112 §3.2.1), its parts still percent-encoded; both decode. Refuses
 * what node's parser lets through, and ends the connection: 400, 501 for other codings.
 */
export function checkRequest(raw: IncomingMessage): { path: string; search: string } {
  const { httpVersion, url = "", headers, rawHeaders } = raw;
  const { host, "transfer-encoding": coding, "content-length": length } = headers;
  // Where there are fewer names than lines.
  if (Object.keys(headers).length * 2 !== rawHeaders.length) {
    const names = rawHeaders.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase());
    for (const name of SINGLE)
      if (names.indexOf(name) !== names.lastIndexOf(name))
        throw refusal(`More than one ${name} header`);
  }
  if (host === undefined && httpVersion !== "1.0") throw refusal("No Host header");
  if (!HOST.test(host ?? "")) throw refusal("Bad Host header");
  if (coding !== undefined) {
    if (coding.trim().toLowerCase() !== "chunked")
      throw refusal("Only the chunked transfer coding is supported", "not_implemented");
    // RFC 9112 §6.1.
    if (httpVersion === "1.0" || length !== undefined) throw refusal("Bad message framing");
  }
  if (!/^\/(?!\/)[\x21-\x22\x24-\x7e]*$/.test(url))
    throw refusal("The request target is not in origin form");
  const end = url.includes("?") ? url.indexOf("?") : url.length;
  const [path, search] = [url.slice(0, end), url.slice(end + 1)];
  if (url.includes("%") && (/\p{Cc}/u.test(decode(path)) || decode(search).includes("\0")))
    throw refusal("The request target has control characters");
  return { path, search };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw refusal("Bad percent-encoding in the request target");
  }
}

function refusal(detail: string, code: Code = "bad_request"): AppError {
  return new AppError(code, detail, { headers: { Connection: "close" } });
}
