import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import { within } from "../errors.ts";
import { type ServerContext, serve } from "./exchange.ts";
import { clientAddress } from "./headers.ts";
import { answerRaw, protocolError } from "./protocol-errors.ts";
import { ClientGone, type Route } from "./request.ts";
import { createRouter } from "./router.ts";

// An import would load its WebSocket client too, 15 MB.
const { createServer } = process.getBuiltinModule("node:http");

const DROP_LOG_INTERVAL_MS = 60_000;
/** For requests that were cut off, to undo what they began. */
const CLEAN_UP_MS = 5_000;

interface Connection {
  /** Settles when every request that was read is answered, one after the other. */
  answered: Promise<void>;
  unanswered: number;
  newest?: { raw: IncomingMessage; abort: AbortController };
}

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
  });
  #closed: Promise<void> | undefined;

  constructor({
    routes,
    maxConnections,
    ...options
  }: Pick<ServerContext, "authorize" | "log" | "onAnswered" | "corsOrigins" | "trustProxy"> & {
    routes: readonly Route[];
    /** Connections at once; those beyond are closed unheard. */
    maxConnections: number;
    bodyIdleTimeoutMs?: number;
    bodyTimeoutMs?: number;
  }) {
    this.#context = {
      bodyIdleTimeoutMs: 30_000,
      bodyTimeoutMs: 10_000,
      ...options,
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
    server.on("connection", (socket) => this.#connectionOf(socket));
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
    for (const [socket, { unanswered }] of this.#connections)
      if (unanswered === 0) socket.destroy();
    await within(closed, timeoutMs, "Connections did not end").catch(() => {
      for (const socket of this.#connections.keys()) socket.destroy();
    });
    await closed;
    const served = Array.from(this.#connections.values(), ({ answered }) => answered);
    await within(Promise.all(served), CLEAN_UP_MS, "Requests did not end").catch(() => {});
  }

  #connectionOf(socket: Socket): Connection {
    const known = this.#connections.get(socket);
    if (known) return known;
    const connection: Connection = { answered: Promise.resolve(), unanswered: 0 };
    this.#connections.set(socket, connection);
    socket.on("resume", () => {
      // Node resumes after each message, and may then read although the stream is paused.
      if (connection.unanswered > 1) socket.pause().emit("pause");
    });
    socket.once("close", async () => {
      await connection.answered;
      this.#connections.delete(socket);
    });
    return connection;
  }

  #receive(raw: IncomingMessage, response: ServerResponse): void {
    const connection = this.#connectionOf(raw.socket);
    const abort = new AbortController();
    raw.on("error", () => {});
    response.on("error", () => {});
    response.once("close", () => {
      if (!response.writableFinished) abort.abort(new ClientGone());
    });
    connection.newest = { raw, abort };
    connection.unanswered += 1;
    // Node's parser emits all requests of one chunk (64 KiB); no other chunk is read.
    if (connection.unanswered > 1) raw.socket.pause();
    connection.answered = connection.answered.then(async () => {
      // Other connections come in between, and node parses the rest of the chunk.
      await turn();
      // After an answer that ends the connection the socket takes no other.
      if (raw.socket.writable) await serve(this.#context, raw, response, abort.signal);
      connection.unanswered -= 1;
      if (connection.unanswered === 1) raw.socket.resume();
      if (connection.unanswered === 0 && this.closing) raw.socket.destroySoon();
    });
  }

  /** What is no request is answered after all before it, and ends the connection. */
  async #onClientError(error: Error, socket: Socket): Promise<void> {
    const refusal = protocolError(error);
    const { newest, answered } = this.#connectionOf(socket);
    if (!refusal) {
      socket.destroy();
      return;
    }
    if (newest && !newest.raw.complete) {
      // The fault is in a body: whoever reads that throws the refusal.
      newest.abort.abort(refusal);
      return;
    }
    await answered;
    // The bytes that follow are refused with it.
    if (!socket.writable) return;
    const id = randomUUID();
    const status = answerRaw(socket, refusal, id);
    const address = clientAddress({}, socket.remoteAddress, false);
    const fields = { status, reason: refusal.detail, address, request_id: id };
    this.#context.log.info("request refused", fields);
  }
}
