import type { IncomingMessage } from "node:http";
import { AppError } from "../errors.ts";

/** Fields of which RFC 9110 §5.3 allows one line, and on which a proxy and this server could disagree. */
const SINGLE = ["host", "authorization", "content-length", "content-type"];
const HOST = /^[A-Za-z0-9._~!$&'()*+,;=%:[\]-]*$/;

/** The target of a request in origin form (RFC 9112 §3.2.1); `path` is still percent-encoded. */
export interface Target {
  path: string;
  query: URLSearchParams;
}

/** Refuses what node's parser lets through and a careful server does not: 400, and 501 for a transfer coding but `chunked`. */
export function checkRequest(raw: IncomingMessage): Target {
  for (const name of SINGLE) {
    if (linesOf(raw, name) > 1) throw badRequest(`More than one ${name} header`);
  }
  const { host } = raw.headers;
  if (host === undefined && raw.httpVersion !== "1.0") throw badRequest("No Host header");
  if (host !== undefined && !HOST.test(host)) throw badRequest("Bad Host header");
  const coding = raw.headers["transfer-encoding"];
  if (coding !== undefined && coding.trim().toLowerCase() !== "chunked") {
    throw new AppError("not_implemented", "Only the chunked transfer coding is supported");
  }
  // RFC 9112 §6.1: the framing of such a message is faulty.
  if (
    coding !== undefined &&
    (raw.httpVersion === "1.0" || raw.headers["content-length"] !== undefined)
  ) {
    throw badRequest("Bad message framing");
  }
  return parseTarget(raw.url ?? "");
}

function linesOf(raw: IncomingMessage, name: string): number {
  return raw.rawHeaders.filter((header, index) => index % 2 === 0 && header.toLowerCase() === name)
    .length;
}

function parseTarget(target: string): Target {
  if (!/^\/(?!\/)[^\s#]*$/.test(target) || /[^\x21-\x7e]/.test(target)) {
    throw badRequest("The request target is not in origin form");
  }
  const mark = target.indexOf("?");
  const path = mark < 0 ? target : target.slice(0, mark);
  const search = mark < 0 ? "" : target.slice(mark + 1);
  if (/\p{Cc}/u.test(decode(path)) || decode(search).includes("\0")) {
    throw badRequest("The request target has control characters");
  }
  return { path, query: new URLSearchParams(search) };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw badRequest("Bad percent-encoding in the request target");
  }
}

function badRequest(detail: string): AppError {
  return new AppError("bad_request", detail);
}
