import type { Duplex } from "node:stream";
import { AppError } from "../errors.ts";
import { defaultHeaders, errorReply } from "./replies.ts";

// As in server.ts.
const { STATUS_CODES } = process.getBuiltinModule("node:http");

/** How long what follows the refusal is thrown away. */
const LINGER_MS = 5_000;

/**
 * What to tell a client whose bytes node's parser refused, by the codes of llhttp and of node;
 * undefined when the connection failed or ended.
 */
export function protocolError({ code = "" }: NodeJS.ErrnoException): AppError | undefined {
  switch (code) {
    case "HPE_HEADER_OVERFLOW":
      return new AppError("header_fields_too_large", "Request header too large");
    case "HPE_INVALID_TRANSFER_ENCODING":
      return new AppError("not_implemented", "Only the chunked transfer coding is supported");
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return new AppError("request_timeout", "The request did not arrive in time");
    case "HPE_INVALID_EOF_STATE":
      return undefined;
  }
  return code.startsWith("HPE_")
    ? new AppError("bad_request", "Malformed HTTP request")
    : undefined;
}

/** Answers on a bare socket and ends it. Returns the status. */
export function answerRaw(socket: Duplex, error: AppError, requestId: string): number {
  const { status, headers, body } = errorReply(error);
  const text = String(body);
  const fields = {
    ...defaultHeaders(requestId),
    ...headers,
    Date: new Date().toUTCString(),
    "Content-Length": Buffer.byteLength(text),
    Connection: "close",
  };
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join("")}\r\n${text}`);
  socket.resume();
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
  return status;
}
