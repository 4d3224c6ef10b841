import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { within } from "../errors.ts";
import { type ServerContext, serve } from "./exchange.ts";
import { announcesBody, clientAddress, requestId } from "./headers.ts";
import { answerRaw, protocolError } from "./protocol-errors.ts";
import { type BodyTimeouts, ClientGone, Request, type Route } from "./request.ts";
import { createRouter } from "./router.ts";

// An import would load its WebSocket client too, 15 MB.
const { createServer } = process.getBuiltinModule("node:http");

const DROP_LOG_INTERVAL_MS = 60_000;
/** For requests that were cut off, to undo what they began. */
const CLEAN_UP_MS = 5_000;

interface Connection {
  readonly peer: string;
  /** The request that is being answered. */
  current?: Request | undefined;
  /** The last one that was read. */
  newest?: Request;
  /** How many wait for the answers before theirs. */
  waiting: number;
}

const ignore = () => {};

export class HttpServer {
  readonly #context: ServerContext;
  readonly #connections = new Map<Socket, Connection>();
  readonly #server = createServer({
    maxHeaderSize: 16 * 1024,
    headersTimeout: 30_000,
    // How often node looks for late headers.
    connectionsCheckingInterval: 5_000,
    // Bodies have time-outs of their own.
    requestTimeout: 0,
    keepAliveTimeout: 65_000,
    // strictness.ts looks at it.
    requireHostHeader: false,
    // Without the life of a stream; what has no body is read as an ended one.
    optimizeEmptyRequests: true,
  });
  /** Requests that are being answered. */
  #running = 0;
  #onIdle = ignore;
  #closed: Promise<void> | undefined;

  constructor({
    routes,
    maxConnections,
    bodyIdleTimeoutMs = 30_000,
    bodyTimeoutMs = 10_000,
    ...options
  }: Pick<ServerContext, "authorize" | "log" | "onAnswered" | "corsOrigins" | "trustProxy"> & {
    routes: readonly Route[];
    /** Connections at once; those beyond are closed unheard. */
    maxConnections: number;
  } & Partial<BodyTimeouts>) {
    this.#context = {
      ...options,
      timeouts: { bodyIdleTimeoutMs, bodyTimeoutMs },
      router: createRouter(routes),
      isClosing: () => this.closing,
    };
    const server = this.#server;
    // Node would drop headers beyond a count; their size is bounded.
    server.maxHeadersCount = 0;
    server.maxConnections = maxConnections;
    let nextLog = 0;
    server.on("drop", () => {
      if (performance.now() < nextLog) return;
      nextLog = performance.now() + DROP_LOG_INTERVAL_MS;
      options.log.warn("too many connections: new ones are dropped", { maxConnections });
    });
    server.on("connection", (socket) => this.#connect(socket));
    // Expectations but `100-continue` are ignored (RFC 9110 §10.1.1).
    for (const event of ["request", "checkContinue", "checkExpectation"])
      server.on(event, (raw, response) => this.#receive(raw, response));
    server.on("clientError", (error, socket) => this.#onClientError(error, socket as Socket));
  }

  get closing(): boolean {
    return this.#closed !== undefined;
  }

  /** Rejects when the address can't be had. Port 0 takes a free one. */
  async listen(port: number, host: string): Promise<{ port: number; host: string }> {
    await once(this.#server.listen(port, host), "listening");
    this.#server.on("error", (error) =>
      this.#context.log.error("the listening socket failed", { error }),
    );
    const bound = this.#server.address() as AddressInfo;
    return { port: bound.port, host: bound.address };
  }

  /** Ends idle connections, lets requests in flight finish, and cuts them after `timeoutMs`. */
  close(timeoutMs: number): Promise<void> {
    this.#closed ??= this.#close(timeoutMs);
    return this.#closed;
  }

  async #close(timeoutMs: number): Promise<void> {
    const closed = once(this.#server.close(), "close");
    // closeIdleConnections leaves those that never sent anything.
    for (const [socket, { newest }] of this.#connections)
      if (!newest || newest.response.closed) socket.destroy();
    await within(closed, timeoutMs, "Connections did not end").catch(() => {
      for (const socket of this.#connections.keys()) socket.destroy();
    });
    await closed;
    const { promise: idle, resolve } = Promise.withResolvers<void>();
    this.#onIdle = resolve;
    if (this.#running === 0) resolve();
    await within(idle, CLEAN_UP_MS, "Requests did not end").catch(ignore);
  }

  #connect(socket: Socket): void {
    const connection: Connection = { peer: clientAddress(socket.remoteAddress), waiting: 0 };
    this.#connections.set(socket, connection);
    socket.on("resume", () => {
      // Node resumes after each message, and may then read although the stream is paused.
      if (connection.waiting > 0) socket.pause().emit("pause");
    });
    socket.once("close", () => {
      this.#connections.delete(socket);
      connection.current?.abort(new ClientGone());
    });
  }

  #receive(raw: IncomingMessage, response: ServerResponse): void {
    const { socket, headers } = raw;
    const connection = this.#connections.get(socket);
    if (!connection) return;
    const { timeouts, trustProxy } = this.#context;
    const { peer } = connection;
    const address = trustProxy ? clientAddress(peer, String(headers["x-forwarded-for"])) : peer;
    const request = new Request({ id: requestId(headers), address, raw, response, timeouts });
    connection.newest = request;
    if (response.socket) {
      // Node parses the rest of the chunk: a short body is whole then.
      if (announcesBody(headers)) setImmediate(() => this.#serve(connection, request));
      else this.#serve(connection, request);
      return;
    }
    // Node gives a response its socket when all before it have ended. Its parser emits all requests
    // of one chunk (64 KiB); no other chunk is read.
    connection.waiting += 1;
    socket.pause();
    response.once("socket", () => {
      // Other connections come in between.
      setImmediate(() => {
        connection.waiting -= 1;
        if (connection.waiting === 0) socket.resume();
        this.#serve(connection, request);
      });
    });
  }

  async #serve(connection: Connection, request: Request): Promise<void> {
    const { socket } = request.raw;
    // After an answer that ends the connection the socket takes no other.
    if (!socket.writable) return;
    connection.current = request;
    this.#running += 1;
    await serve(this.#context, request);
    connection.current = undefined;
    this.#running -= 1;
    if (!this.closing) return;
    if (connection.waiting === 0) socket.destroySoon();
    if (this.#running === 0) this.#onIdle();
  }

  /** What is no request is answered after all before it, and ends the connection. */
  #onClientError(error: Error, socket: Socket): void {
    const refusal = protocolError(error);
    const connection = this.#connections.get(socket);
    if (!refusal || !connection) {
      socket.destroy();
      return;
    }
    const { newest, peer } = connection;
    const refuse = () => {
      // The bytes that follow are refused with it.
      if (!socket.writable) return;
      const id = randomUUID();
      const status = answerRaw(socket, refusal, id);
      const fields = { status, reason: refusal.detail, address: peer, request_id: id };
      this.#context.log.info("request refused", fields);
    };
    if (!newest || newest.response.closed) refuse();
    // The fault is in a body: whoever reads that throws the refusal.
    else if (!newest.raw.complete) newest.abort(refusal);
    else newest.response.once("close", refuse);
  }
}
