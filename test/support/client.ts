import { type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import type { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";

/** A part of a form: with `filename` or `data` a file, else a text field. `head` replaces the whole Content-Disposition. */
export interface Part {
  name: string;
  value?: string;
  filename?: string;
  type?: string;
  data?: Buffer | string;
  head?: string;
}

export interface SendOptions {
  json?: unknown;
  form?: Record<string, string> | [string, string][];
  multipart?: Part[];
  /** Sent as it is; a stream goes chunked unless `headers` have a length. */
  body?: Buffer | string | Readable;
  headers?: Record<string, string | string[]>;
}

export interface Answer {
  status: number;
  headers: Headers;
  /** The parsed JSON, or undefined. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever came
  body: any;
  bytes: Buffer;
}

const BOUNDARY = "----nassaq-test-7d3a1f";

/** A multipart body as browsers write it: names in raw UTF-8. */
export function multipartBody(parts: readonly Part[]): { type: string; body: Buffer } {
  const pieces = parts.flatMap((part) => {
    const isFile = part.filename !== undefined || part.data !== undefined;
    const filename = isFile
      ? `; filename="${(part.filename ?? "file.bin").replaceAll('"', "%22")}"`
      : "";
    const head = part.head ?? `Content-Disposition: form-data; name="${part.name}"${filename}`;
    const type =
      isFile || part.type ? `Content-Type: ${part.type ?? "application/octet-stream"}\r\n` : "";
    const data = part.data ?? part.value ?? "";
    return [`--${BOUNDARY}\r\n${head}\r\n${type}\r\n`, data, "\r\n"].map((piece) =>
      Buffer.from(piece as string),
    );
  });
  const body = Buffer.concat([...pieces, Buffer.from(`--${BOUNDARY}--\r\n`)]);
  return { type: `multipart/form-data; boundary=${BOUNDARY}`, body };
}

function encode(options: SendOptions): { type?: string; body?: Buffer | string | Readable } {
  if (options.json !== undefined)
    return { type: "application/json", body: JSON.stringify(options.json) };
  if (options.form) {
    return {
      type: "application/x-www-form-urlencoded",
      body: new URLSearchParams(options.form).toString(),
    };
  }
  if (options.multipart) return multipartBody(options.multipart);
  return options.body === undefined ? {} : { body: options.body };
}

/** One request on a connection of its own; the target goes out exactly as given. */
export async function send(
  base: string,
  method: string,
  target: string,
  options: SendOptions = {},
): Promise<Answer> {
  const { type, body } = encode(options);
  const headers = { ...(type === undefined ? {} : { "Content-Type": type }), ...options.headers };
  const { request, answer } = open(base, method, target, headers);
  if (body === undefined || typeof body === "string" || Buffer.isBuffer(body)) request.end(body);
  // What keeps the body from being sent is told by the answer.
  else pipeline(body, request).catch(() => {});
  return answer;
}

/** A request whose body the test writes itself. `answer` also resolves when it comes before the body's end. */
export function open(
  base: string,
  method: string,
  target: string,
  headers: Record<string, string | string[]>,
): { request: ClientRequest; answer: Promise<Answer> } {
  const { hostname, port } = new URL(base);
  const request = httpRequest({ hostname, port, method, path: target, headers, agent: false });
  const answer = new Promise<IncomingMessage>((resolve, reject) => {
    request.on("response", resolve).on("error", reject);
  }).then(toAnswer);
  answer.catch(() => {});
  return { request, answer };
}

async function toAnswer(response: IncomingMessage): Promise<Answer> {
  const bytes = await buffer(response);
  const headers = new Headers();
  for (let i = 0; i < response.rawHeaders.length; i += 2) {
    headers.append(response.rawHeaders[i] as string, response.rawHeaders[i + 1] as string);
  }
  const isJson = headers.get("content-type")?.startsWith("application/json") && bytes.length > 0;
  return {
    status: response.statusCode ?? 0,
    headers,
    body: isJson ? JSON.parse(bytes.toString("utf8")) : undefined,
    bytes,
  };
}

/** Sends bytes as they are and returns all that comes back until the server closes the connection. */
export async function sendRaw(base: string, text: string): Promise<string> {
  const { hostname, port } = new URL(base);
  const socket: Socket = connect(Number(port), hostname);
  socket.write(text);
  try {
    return (await buffer(socket)).toString("latin1");
  } finally {
    socket.destroy();
  }
}
