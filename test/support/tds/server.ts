import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import {
  type Call,
  done,
  errorToken,
  loginReply,
  messageReader,
  PACKET,
  packets,
  preloginReply,
  type ResultSet,
  readCall,
  readLogin,
  resultTokens,
  transactionToken,
} from "./protocol.ts";

/** What a statement answers. `hang`: nothing; `drop`: the connection is reset. */
export type Answer =
  | { result?: ResultSet; rowsAffected?: number }
  | { error: number; rolledBack?: boolean }
  | "hang"
  | "drop";

export type TransactionStep = "begin" | "commit" | "rollback";

/** One connection's state at the server. */
export interface Session {
  call(call: Call): Answer | Promise<Answer>;
  transaction(step: TransactionStep): Answer | Promise<Answer>;
  end(): void;
}

export interface StandIn {
  port: number;
  /** Logins so far. */
  logins: { user: string; password: string; database: string }[];
  connections(): number;
  /** Resets every connection. */
  dropAll(): void;
  close(): Promise<void>;
}

const STEPS = new Map<number, [TransactionStep, 8 | 9 | 10]>([
  [5, ["begin", 8]],
  [7, ["commit", 9]],
  [8, ["rollback", 10]],
]);

/** Not a SQL Server: it speaks TDS on loopback and asks `open` for what to say. A number from `login` refuses with that error. */
export async function startStandIn(options: {
  open: () => Session;
  login?: () => number | undefined;
  port?: number;
}): Promise<StandIn> {
  const sockets = new Set<Socket>();
  const logins: StandIn["logins"] = [];

  const server = createServer((socket) => {
    sockets.add(socket);
    let session: Session | undefined;
    /** What the request under way is: none, one that will be answered, or one that never will. */
    let request: "none" | "working" | "hanging" = "none";
    socket.on("error", () => {});
    socket.on("close", () => {
      sockets.delete(socket);
      session?.end();
    });
    const send = (...tokens: Buffer[]) =>
      void (socket.writable && socket.write(packets(Buffer.concat(tokens))));

    async function reply(
      answer: Promise<Answer> | Answer,
      success: (answer: Answer) => Buffer,
    ): Promise<void> {
      request = "working";
      const given = await answer;
      request = given === "hang" ? "hanging" : "none";
      if (given === "hang") return;
      if (given === "drop") return void socket.resetAndDestroy();
      if (!("error" in given)) return send(success(given));
      const ended = given.rolledBack ? [transactionToken(10)] : [];
      send(...ended, errorToken(given.error), done(0xfe, 2));
    }

    function onMessage(type: number, data: Buffer): unknown {
      if (type === PACKET.prelogin) return send(preloginReply());
      if (type === PACKET.attention) {
        if (request === "working") return socket.resetAndDestroy();
        // The cancelled request and the attention get an answer each.
        if (request === "hanging") send(done(0xfd, 2));
        request = "none";
        return send(done(0xfd, 0x20));
      }
      if (type === PACKET.login) {
        logins.push(readLogin(data));
        const refusal = options.login?.();
        // SQL Server says what is wrong and then, whatever it was, that the login failed.
        if (refusal !== undefined)
          return send(errorToken(refusal), errorToken(18456), done(0xfd, 2));
        session = options.open();
        return send(loginReply());
      }
      if (type === PACKET.batch) return send(done(0xfd, 0));
      if (type === PACKET.rpc && session) {
        return reply(session.call(readCall(data)), (answer) => {
          const { result, rowsAffected = 0 } = answer as {
            result?: ResultSet;
            rowsAffected?: number;
          };
          return resultTokens(result, rowsAffected);
        });
      }
      const [step, token] = STEPS.get(data.readUInt16LE(data.readUInt32LE(0))) ?? [];
      if (!session || !step || !token) return socket.destroy();
      return reply(session.transaction(step), () =>
        Buffer.concat([transactionToken(token), done(0xfd, 0)]),
      );
    }
    socket.on("data", messageReader(onMessage));
  });
  server.listen(options.port ?? 0, "127.0.0.1");
  await once(server, "listening");

  const dropAll = () => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    logins,
    connections: () => sockets.size,
    dropAll,
    async close() {
      dropAll();
      server.close();
      await once(server, "close");
    },
  };
}
