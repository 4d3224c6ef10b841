import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/**
 * What happens to what passes. `down`: connections are broken, new ones too. `stalled`: nothing
 * passes and nothing closes. `slow`: each piece waits 50 ms.
 */
export type Line = "whole" | "down" | "stalled" | "slow";

const SLOW_MS = 50;

export interface FaultProxy {
  readonly port: number;
  line: Line;
  /** Pieces that have come to wait on the stalled line so far. */
  held: number;
  /** Told of each piece before it passes, in either direction; `false` swallows it. */
  onPiece: () => boolean;
  /** Breaks the connections that there are. */
  cut(): void;
  close(): Promise<void>;
}

/** A line to a dependency at `targetPort` of this machine, whose port stays the same. */
export async function startFaultProxy(targetPort: number): Promise<FaultProxy> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    if (proxy.line === "down") {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect(targetPort, "127.0.0.1");
    pass(client, upstream);
    pass(upstream, client);
  });

  function pass(from: Socket, to: Socket): void {
    sockets.add(from);
    from.setNoDelay(true);
    from.on("data", (piece) => {
      // What waits here when the line heals is sent then, as TCP would.
      const forward = () => {
        if (proxy.line === "stalled") setTimeout(forward, SLOW_MS);
        else if (proxy.onPiece()) to.write(piece, () => from.resume());
      };
      from.pause();
      if (proxy.line === "stalled") proxy.held += 1;
      if (proxy.line === "slow") setTimeout(forward, SLOW_MS);
      else forward();
    });
    from.on("error", () => {});
    from.on("close", () => {
      sockets.delete(from);
      to.destroy();
    });
  }

  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  const proxy: FaultProxy = {
    port: (server.address() as AddressInfo).port,
    line: "whole",
    held: 0,
    onPiece: () => true,
    cut,
    async close() {
      server.close();
      cut();
      await once(server, "close");
    },
  };
  return proxy;
}
