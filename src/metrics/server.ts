import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { CONTENT_TYPE } from "./exposition.ts";

// As in http/server.ts.
const { createServer } = process.getBuiltinModule("node:http");

/** Milliseconds. */
const REQUEST_TIMEOUT = 10_000;

/** Serves `scrape` at `GET /metrics`, a connection a request. Rejects when the port is taken. */
export async function serveMetrics(scrape: () => Promise<string>, port: number, host: string) {
  async function answer({ method = "", url }: IncomingMessage, response: ServerResponse) {
    const isRead = ["GET", "HEAD"].includes(method);
    const status = url !== "/metrics" ? 404 : isRead ? 200 : 405;
    const text = status === 200 ? await scrape() : "";
    const headers = { Allow: "GET, HEAD", "Content-Type": CONTENT_TYPE, Connection: "close" };
    response.writeHead(status, headers).end(text);
  }
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT }, (request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  server.maxConnections = 20;
  // Unheard, a failure of the listening socket would end the process.
  server.on("error", () => {});
  // In a cluster each process has a port of its own.
  await once(server.listen({ port, host, exclusive: true }), "listening");
  const bound = server.address() as AddressInfo;
  return {
    host: bound.address,
    port: bound.port,
    async close(): Promise<void> {
      const closed = once(server.close(), "close");
      server.closeAllConnections();
      await closed;
    },
  };
}
