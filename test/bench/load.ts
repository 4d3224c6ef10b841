import { connect } from "node:net";
import { type SendOptions, send } from "../support/client.ts";

/** The bytes of one request. */
export type Wire = readonly Buffer[];

export interface Connection {
  /** One request at a time, to its status. Rejects when the connection ends before the answer. */
  send(wire: Wire): Promise<number>;
  close(): void;
}

const BOUNDARY = "----nassaq-bench-5b2f";

/** A request. `Host` names no port, because the bytes serve every candidate. */
function wire(method: string, path: string, headers: string[], body: readonly Buffer[] = []): Wire {
  const length = body.reduce((sum, part) => sum + part.length, 0);
  const lines = [`${method} ${path} HTTP/1.1`, "Host: 127.0.0.1", ...headers];
  if (method !== "GET") lines.push(`Content-Length: ${length}`);
  return [Buffer.from(`${lines.join("\r\n")}\r\n\r\n`), ...body];
}

const bearer = (token: string | undefined) => (token ? [`Authorization: Bearer ${token}`] : []);

export const get = (path: string, token?: string): Wire => wire("GET", path, bearer(token));

export function postForm(path: string, fields: Record<string, string>): Wire {
  const body = Buffer.from(`${new URLSearchParams(fields)}`);
  return wire("POST", path, ["Content-Type: application/x-www-form-urlencoded"], [body]);
}

/** An upload as browsers send it. */
export function postFile(name: string, bytes: Buffer, token: string): Wire {
  const head =
    `--${BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="${name}"\r\n` +
    "Content-Type: application/octet-stream\r\n\r\n";
  const headers = [...bearer(token), `Content-Type: multipart/form-data; boundary=${BOUNDARY}`];
  const body = [Buffer.from(head), bytes, Buffer.from(`\r\n--${BOUNDARY}--\r\n`)];
  return wire("POST", "/api/v1/docs/upload", headers, body);
}

/** A client that costs little beside the server: it reads status and length, and counts bytes. */
export function openConnection(url: string): Promise<Connection> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), noDelay: true });
  let waiting: PromiseWithResolvers<number> | undefined;
  let start = "";
  let status = 0;
  /** Bytes of the body that are missing; undefined while the head is, NaN of a chunked body. */
  let missing: number | undefined;

  function readHead(chunk: Buffer): Buffer | undefined {
    start += chunk.toString("latin1");
    const end = start.indexOf("\r\n\r\n");
    if (end < 0) return undefined;
    status = Number(start.slice(9, 12));
    const length = /\r\ncontent-length: *(\d+)/i.exec(start.slice(0, end))?.[1];
    missing = status === 204 || status === 304 ? 0 : Number(length);
    const rest = chunk.subarray(chunk.length - (start.length - end - 4));
    start = "";
    return rest;
  }

  socket.on("data", (chunk: Buffer) => {
    const part = missing === undefined ? readHead(chunk) : chunk;
    if (part === undefined || missing === undefined) return;
    missing -= part.length;
    const isLast = Number.isNaN(missing)
      ? part.subarray(-5).toString("latin1") === "0\r\n\r\n"
      : missing <= 0;
    if (!isLast) return;
    missing = undefined;
    const { resolve } = waiting ?? {};
    waiting = undefined;
    resolve?.(status);
  });
  const fail = (error: unknown) => waiting?.reject(error);
  socket.on("error", fail);
  socket.on("close", () => fail(new Error("The connection ended before the answer")));

  const connection: Connection = {
    send(request) {
      waiting = Promise.withResolvers();
      if (socket.destroyed) fail(new Error("The connection has ended"));
      socket.cork();
      for (const part of request) socket.write(part);
      socket.uncork();
      return waiting.promise;
    },
    close: () => socket.destroy(),
  };
  return new Promise((resolve, reject) => {
    socket.once("error", reject).once("connect", () => resolve(connection));
  });
}

/** One request, to the body of its answer; throws unless it succeeds. */
export async function ask(url: string, method: string, path: string, options: SendOptions = {}) {
  const { status, body } = await send(url, method, path, options);
  if (status >= 300) throw new Error(`${method} ${path}: ${status} ${JSON.stringify(body)}`);
  return body;
}

export const withToken = (token: string) => ({ headers: { Authorization: `Bearer ${token}` } });

export interface Load {
  request(turn: number): Wire;
  connections: number;
  /** It ends after so many requests or seconds, or when it is told. */
  count?: number;
  seconds?: number;
  until?: AbortSignal;
  /** Which status is right; any of success by default. */
  accepts?(status: number): boolean;
  /** Called when all connections are open. */
  onBegin?(): void;
}

/** Sends requests one after another on each connection. Times are in milliseconds. */
export async function drive(url: string, load: Load): Promise<{ times: number[]; rate: number }> {
  const { count = Number.POSITIVE_INFINITY, seconds = Number.POSITIVE_INFINITY } = load;
  const accepts = load.accepts ?? ((status) => status < 300);
  const pool = await Promise.all(
    Array.from({ length: load.connections }, () => openConnection(url)),
  );
  try {
    load.onBegin?.();
    const times: number[] = [];
    let turn = 0;
    const begun = performance.now();
    const work = async (connection: Connection) => {
      const isOver = () => performance.now() >= begun + seconds * 1_000 || load.until?.aborted;
      while (turn < count && !isOver()) {
        const request = load.request(turn++);
        const sent = performance.now();
        const status = await connection.send(request);
        if (!accepts(status))
          throw new Error(`${request[0]?.toString("latin1", 0, 60)} is answered with ${status}`);
        times.push(performance.now() - sent);
      }
    };
    await Promise.all(pool.map(work));
    return { times, rate: times.length / ((performance.now() - begun) / 1_000) };
  } finally {
    for (const connection of pool) connection.close();
  }
}
