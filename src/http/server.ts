import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { AppError, within } from "../errors.ts";
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
  /**
   * Takes no new connection, ends idle ones, lets requests in flight finish, and after `timeoutMs`
   * cuts what is left.
   */
  close(timeoutMs: number): Promise<void>;
  readonly closing: boolean;
}

export interface HttpServerOptions<Level extends string, Caller> {
  routes: readonly Route<Level, Caller>[];
  /** Says who calls, or throws, before any byte of a body is read. */
  authorize: (level: Level, request: Request) => Promise<Caller>;
  log: Logger;
  /** The origins that CORS lets in. */
  corsOrigins: readonly string[];
  /** Whether the last hop of `X-Forwarded-For` is the client. */
  trustProxy: boolean;
  bodyIdleTimeoutMs?: number;
}

/** A server for the table of routes. */
export function createHttpServer<Level extends string, Caller>({
  routes,
  ...options
}: HttpServerOptions<Level, Caller>): HttpServer {
  const router = createRouter(routes);
  const context = { bodyIdleTimeoutMs: BODY_IDLE_TIMEOUT_MS, ...options, router };
  return new NodeHttpServer(context);
}

/** A connection's requests are served one after the other. */
interface Connection {
  /** Settles when every request that was read is answered. */
  answered: Promise<void>;
  /** Requests that were read and are not answered: one is being served, the others wait. */
  unanswered: number;
  /** What was read last. */
  newest?: { raw: IncomingMessage; abort: AbortController };
  /** The client is told that its bytes are no HTTP, after the answers to what came before. */
  refused: boolean;
}

class NodeHttpServer<Level extends string, Caller> implements HttpServer {
  readonly #context: ServerContext<Level, Caller>;
  readonly #connections = new Map<Socket, Connection>();
  readonly #server = createServer({
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: HEADERS_TIMEOUT_MS,
    // A slow but steady upload may take its time; bodies have an idle timer.
    requestTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    connectionsCheckingInterval: CHECK_INTERVAL_MS,
    // Checked in strictness.ts, with an answer in JSON.
    requireHostHeader: false,
  });
  #closed: Promise<void> | undefined;

  constructor(context: ServerContext<Level, Caller>) {
    this.#context = context;
    const server = this.#server;
    // A header beyond a maximum count would be dropped without a word; the size is bounded anyway.
    server.maxHeadersCount = 0;
    server.on("connection", (socket) => this.#accept(socket));
    server.on("request", (raw, response) => this.#receive(raw, response, false));
    server.on("checkContinue", (raw, response) => this.#receive(raw, response, true));
    // Any other expectation is ignored, as RFC 9110 §10.1.1 allows.
    server.on("checkExpectation", (raw, response) => this.#receive(raw, response, false));
    server.on("connect", (raw, duplex) => {
      const refusal = new AppError("bad_request", "CONNECT is not supported");
      duplex.on("error", () => {});
      void this.#refuse(duplex as Socket, refusal, requestId(raw.headers));
    });
    server.on("clientError", (error, duplex) => this.#onClientError(error, duplex as Socket));
  }

  get closing(): boolean {
    return this.#closed !== undefined;
  }

  async listen(port: number, host: string): Promise<{ port: number; host: string }> {
    await once(this.#server.listen(port, host), "listening");
    this.#server.on("error", (error) =>
      this.#context.log.error("the listening socket failed", { error }),
    );
    const bound = this.#server.address() as AddressInfo;
    return { port: bound.port, host: bound.address };
  }

  close(timeoutMs: number): Promise<void> {
    this.#closed ??= this.#close(timeoutMs);
    return this.#closed;
  }

  async #close(timeoutMs: number): Promise<void> {
    const closed = once(this.#server.close(), "close");
    // Node's own closeIdleConnections leaves those that never sent anything.
    for (const [socket, { unanswered }] of this.#connections)
      if (unanswered === 0) socket.destroy();
    await within(closed, timeoutMs, "Connections did not end").catch(() => {
      for (const socket of this.#connections.keys()) socket.destroy();
    });
    await closed;
    // What was cut off still cleans up after itself.
    const served = Array.from(this.#connections.values(), ({ answered }) => answered);
    await within(Promise.all(served), CLEAN_UP_MS, "Requests did not end").catch(() => {});
  }

  #accept(socket: Socket): void {
    const connection: Connection = { answered: Promise.resolve(), unanswered: 0, refused: false };
    this.#connections.set(socket, connection);
    // Node resumes the socket after every message, and reads on whatever the stream's state is.
    socket.on("resume", () => {
      if (connection.unanswered > 1) socket.pause().emit("pause");
    });
    socket.once("close", async () => {
      await connection.answered;
      this.#connections.delete(socket);
    });
  }

  #receive(raw: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void {
    const { socket } = raw;
    const connection = this.#connectionOf(socket);
    raw.on("error", () => {});
    response.on("error", () => {});
    const abort = new AbortController();
    response.once("close", () => {
      if (!response.writableFinished) abort.abort(new ClientGone());
    });
    connection.newest = { raw, abort };
    connection.unanswered += 1;
    // Node's parser emits what one chunk (64 KiB) holds of requests; no other chunk is read.
    if (connection.unanswered > 1) socket.pause();
    const { signal } = abort;
    const mustClose = () => this.closing;
    const id = requestId(raw.headers);
    const exchange = { id, raw, response, signal, expectsContinue, mustClose };
    connection.answered = connection.answered.then(() => this.#serve(exchange, connection));
  }

  async #serve(exchange: Exchange, connection: Connection): Promise<void> {
    const { socket } = exchange.raw;
    // After an answer that ends the connection the socket takes no other.
    if (socket.writable) {
      await serve(this.#context, exchange).catch((error) => {
        this.#context.log.error("an exchange failed", { request_id: exchange.id, error });
        socket.destroy();
      });
    }
    connection.unanswered -= 1;
    if (connection.unanswered === 1) socket.resume();
    if (connection.unanswered === 0 && this.closing) socket.destroySoon();
  }

  #onClientError(error: NodeJS.ErrnoException, socket: Socket): void {
    const refusal = protocolError(error);
    const { newest } = this.#connectionOf(socket);
    if (!refusal) socket.destroy();
    // The fault is in a body: whoever reads that throws the refusal.
    else if (newest && !newest.raw.complete) newest.abort.abort(refusal);
    else void this.#refuse(socket, refusal, randomUUID());
  }

  /** Answers what is no request of HTTP when all before it is answered, and ends the connection. */
  async #refuse(socket: Socket, refusal: AppError, id: string): Promise<void> {
    const connection = this.#connectionOf(socket);
    if (connection.refused) return;
    connection.refused = true;
    await connection.answered;
    if (!socket.writable) return;
    const status = answerRaw(socket, refusal, id);
    this.#context.log.info("request refused", {
      status,
      reason: refusal.detail,
      address: clientAddress({}, socket.remoteAddress, false),
      request_id: id,
    });
  }

  #connectionOf(socket: Socket): Connection {
    const connection = this.#connections.get(socket);
    if (!connection) throw new Error("A connection that was not accepted");
    return connection;
  }
}
