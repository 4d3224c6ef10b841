import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

export interface TcpProxy {
  readonly port: number;
  /** Connections accepted so far. */
  accepted: number;
  /** Swallows what either side sends, on present and future connections, without closing any. */
  silent: boolean;
  /** Breaks every connection. */
  cut(): void;
  close(): Promise<void>;
}

/** A line to a server that can be broken or go dead. */
export async function startTcpProxy(
  targetPort: number,
  targetHost = "127.0.0.1",
): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    proxy.accepted += 1;
    const upstream = connect(targetPort, targetHost);
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      from.on("data", (chunk) => proxy.silent || to.write(chunk));
      from.on("error", () => {});
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  const proxy: TcpProxy = {
    port: (server.address() as AddressInfo).port,
    accepted: 0,
    silent: false,
    cut,
    async close() {
      server.close();
      cut();
      await once(server, "close");
    },
  };
  return proxy;
}
