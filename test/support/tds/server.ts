import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { duplexPair } from "node:stream";
import { createSecureContext, TLSSocket } from "node:tls";
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

/** What a statement answers. `hang`: nothing; `drop`: the connection is reset; `end`: it is ended in good order. */
export type Answer =
  | { result?: ResultSet; rowsAffected?: number }
  | { error: number; rolledBack?: boolean }
  | "hang"
  | "drop"
  | "end";

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

/** Ciphers that need no certificate. A client in this process must be told of them: `tls.DEFAULT_CIPHERS`. */
export const ANONYMOUS_CIPHERS = "ADH-AES256-GCM-SHA384:@SECLEVEL=0";

/**
 * The encrypted side of a TDS connection: the TLS handshake travels in PRELOGIN messages, what follows it doesn't.
 * Returns the plain side, and where to put what comes from the client.
 */
function encrypted(socket: Socket) {
  const [inner, outer] = duplexPair();
  const plain = new TLSSocket(inner, {
    isServer: true,
    secureContext: createSecureContext({
      ciphers: ANONYMOUS_CIPHERS,
      dhparam: "auto",
      maxVersion: "TLSv1.2",
    }),
  });
  plain.on("error", () => {});
  let handshake = true;
  outer.on("data", (chunk) => socket.write(handshake ? packets(chunk) : chunk));
  outer.on("end", () => socket.end());
  const readHandshake = messageReader((_type, data) => outer.write(data));
  return {
    plain,
    receive(chunk: Buffer) {
      handshake &&= chunk[0] === PACKET.prelogin;
      if (handshake) readHandshake(chunk);
      else outer.write(chunk);
    },
  };
}

/**
 * Not a SQL Server: it speaks TDS on loopback and asks `open` for what to say. A number from `login` refuses with that
 * error. With `encrypt` it speaks TLS with `ANONYMOUS_CIPHERS`.
 */
export async function startStandIn(options: {
  open: () => Session;
  login?: () => number | undefined;
  port?: number;
  encrypt?: boolean;
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
    let tls: ReturnType<typeof encrypted> | undefined;
    const send = (...tokens: Buffer[]) => {
      const stream = tls?.plain ?? socket;
      if (stream.writable) stream.write(packets(Buffer.concat(tokens)));
    };

    async function reply(
      answer: Promise<Answer> | Answer,
      success: (answer: Answer) => Buffer,
    ): Promise<void> {
      request = "working";
      const given = await answer;
      request = given === "hang" ? "hanging" : "none";
      if (given === "hang") return;
      if (given === "drop") return void socket.resetAndDestroy();
      if (given === "end") return void (tls?.plain ?? socket).end();
      if (!("error" in given)) return send(success(given));
      const ended = given.rolledBack ? [transactionToken(10)] : [];
      send(...ended, errorToken(given.error), done(0xfe, 2));
    }

    function onMessage(type: number, data: Buffer): unknown {
      if (type === PACKET.prelogin) {
        send(preloginReply(options.encrypt));
        if (!options.encrypt) return;
        tls = encrypted(socket);
        return tls.plain.on("data", messageReader(onMessage));
      }
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
    const readPlain = messageReader(onMessage);
    socket.on("data", (chunk) => (tls ? tls.receive(chunk) : readPlain(chunk)));
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
