import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { AppError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { clientAddress, requestId } from "./client.ts";
import { type Exchange, type ServerContext, serve } from "./exchange.ts";
import { answerRaw, protocolError } from "./protocol-errors.ts";
import { ClientGone, type Request, type Route } from "./request.ts";
import { createRouter } from "./router.ts";

const MAX_HEADER_BYTES = 16 * 1024;
const HEADERS_TIMEOUT_MS = 30_000;
const KEEP_ALIVE_TIMEOUT_MS = 65_000;
const BODY_IDLE_TIMEOUT_MS = 30_000;
/** How long requests that were cut off when the server closed may take to undo what they began. */
const CLEAN_UP_MS = 5_000;
/** How often node looks for requests whose headers are late. */
const CHECK_INTERVAL_MS = 5_000;

export interface HttpServer {
  /** Rejects when the address can't be had. Port 0 takes a free one. */
  listen(port: number, host: string): Promise<{ port: number; host: string }>;
  /** Takes no new connection, ends idle ones, lets requests in flight finish, and after `timeoutMs` cuts what is left. */
  close(timeoutMs: number): Promise<void>;
  readonly closing: boolean;
}

interface Entry {
  exchange: Exchange;
  abort: AbortController;
}

interface Connection {
  /** Those in flight, in the order of their requests. */
  exchanges: Set<Entry>;
  /** No further request of this connection is looked at. */
  last: boolean;
  refusedWith: number | undefined;
}

function newest({ exchanges }: Connection): Entry | undefined {
  return [...exchanges].at(-1);
}

/** A server for the table of routes. `authorize` says who calls, or throws, before any byte of a body is read. */
export function createHttpServer<Level extends string, Caller>(options: {
  routes: readonly Route<Level, Caller>[];
  authorize: (level: Level, request: Request) => Promise<Caller>;
  log: Logger;
  corsOrigins: readonly string[];
  trustProxy: boolean;
  bodyIdleTimeoutMs?: number;
}): HttpServer {
  const { routes, ...rest } = options;
  const context: ServerContext<Level, Caller> = {
    bodyIdleTimeoutMs: BODY_IDLE_TIMEOUT_MS,
    ...rest,
    router: createRouter(routes),
  };
  const { log } = options;
  const connections = new Map<Socket, Connection>();
  const running = new Set<Promise<void>>();
  let closed: Promise<void> | undefined;

  const server = createServer({
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: HEADERS_TIMEOUT_MS,
    // A slow but steady upload may take its time; bodies have an idle timer.
    requestTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    connectionsCheckingInterval: CHECK_INTERVAL_MS,
    // Checked in strictness.ts, with an answer in JSON.
    requireHostHeader: false,
  });
  // A header beyond a maximum count would be dropped without a word; the size is bounded anyway.
  server.maxHeadersCount = 0;
  // Answers clients that end their sending side after the request, as scripts with netcat do.
  Object.assign(server, { httpAllowHalfOpen: true });

  function connectionOf(socket: Socket): Connection {
    const known = connections.get(socket);
    if (known) return known;
    const connection: Connection = { exchanges: new Set(), last: false, refusedWith: undefined };
    connections.set(socket, connection);
    socket.once("close", () => {
      connections.delete(socket);
      for (const { abort } of connection.exchanges) abort.abort(new ClientGone());
    });
    return connection;
  }

  function begin(raw: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void {
    const { socket } = raw;
    const connection = connectionOf(socket);
    if (connection.last) return;
    raw.on("error", () => {});
    response.on("error", () => {});
    const abort = new AbortController();
    const exchange: Exchange = {
      id: requestId(raw.headers),
      raw,
      response,
      signal: abort.signal,
      expectsContinue,
      // Requests sent in one go are answered in order: only the answer to the last may close.
      mustClose: () => (closed !== undefined || connection.last) && newest(connection) === entry,
      onLinger: () => {
        connection.last = true;
      },
      refusedWith: () => connection.refusedWith,
    };
    const entry: Entry = { exchange, abort };
    connection.exchanges.add(entry);
    const serving = serve(context, exchange)
      .catch((error) => {
        log.error("an exchange failed", { request_id: exchange.id, error });
        socket.destroy();
      })
      .finally(() => {
        running.delete(serving);
        connection.exchanges.delete(entry);
        const over =
          closed !== undefined || (connection.last && connection.refusedWith === undefined);
        if (over && connection.exchanges.size === 0) socket.destroySoon();
      });
    running.add(serving);
  }

  server.on("connection", connectionOf);
  server.on("request", (raw, response) => begin(raw, response, false));
  server.on("checkContinue", (raw, response) => begin(raw, response, true));
  // Any other expectation is ignored, as RFC 9110 §10.1.1 allows.
  server.on("checkExpectation", (raw, response) => begin(raw, response, false));
  server.on("connect", (raw, socket) => {
    socket.on("error", () => {});
    refuse(
      socket as Socket,
      new AppError("bad_request", "CONNECT is not supported"),
      requestId(raw.headers),
    );
  });
  server.on("clientError", (error, duplex) => {
    const socket = duplex as Socket;
    const connection = connectionOf(socket);
    const refusal = protocolError(error);
    if (!refusal) return void socket.destroy();
    const current = newest(connection);
    if (connection.last) {
      // Behind the last answer nonsense is thrown away like all else; in the middle of a body it is the end.
      if (current?.exchange.response.headersSent) socket.destroy();
      return;
    }
    connection.last = true;
    if (!current)
      return socket.writable ? refuse(socket, refusal, randomUUID()) : void socket.destroy();
    const { raw, response, id } = current.exchange;
    // Requests that arrived whole before the nonsense are answered; then the connection ends.
    if (raw.complete) return;
    if (response.headersSent || !socket.writable) return void socket.destroy();
    if (connection.exchanges.size === 1) connection.refusedWith = answerRaw(socket, refusal, id);
    current.abort.abort(new ClientGone());
  });

  function refuse(socket: Socket, refusal: AppError, id: string): void {
    connectionOf(socket).last = true;
    const status = answerRaw(socket, refusal, id);
    log.info("request refused", {
      status,
      reason: refusal.detail,
      address: clientAddress({}, socket.remoteAddress, false),
      request_id: id,
    });
  }

  return {
    get closing() {
      return closed !== undefined;
    },

    listen(port, host) {
      return new Promise((resolve, reject) => {
        server.once("error", reject);
        server.listen(port, host, () => {
          server.off("error", reject);
          server.on("error", (error) => log.error("the listening socket failed", { error }));
          const bound = server.address() as AddressInfo;
          resolve({ port: bound.port, host: bound.address });
        });
      });
    },

    close(timeoutMs) {
      closed ??= new Promise((resolve) => {
        const timer = setTimeout(() => {
          for (const socket of connections.keys()) socket.destroy();
        }, timeoutMs);
        server.close(async () => {
          clearTimeout(timer);
          // What was cut off still cleans up after itself.
          await Promise.race([Promise.all(running), delay(CLEAN_UP_MS, undefined, { ref: false })]);
          resolve();
        });
        for (const [socket, { exchanges }] of connections) {
          if (exchanges.size === 0) socket.destroy();
        }
      });
      return closed;
    },
  };
}
