import { connect } from "node:net";
import type { Route } from "../../src/http/request.ts";
import { HttpServer } from "../../src/http/server.ts";
import { createLogger } from "../../src/log.ts";

type Options = Partial<ConstructorParameters<typeof HttpServer>[0]>;

export interface LogLine {
  level: string;
  message: string;
  [field: string]: unknown;
}

export type Harness = Awaited<ReturnType<typeof startServer>>;

/** A server on a free port that is closed after the test, and its log. */
export async function startServer(
  t: { after(close: () => Promise<void>): void },
  routes: Route[],
  options: Options = {},
) {
  const lines: LogLine[] = [];
  const waiting = new Set<() => void>();
  const log = createLogger({
    level: "debug",
    readable: false,
    write: (line) => {
      lines.push(JSON.parse(line));
      for (const wake of waiting) wake();
    },
  });
  const server = new HttpServer({
    routes,
    authorize: async () => undefined,
    log,
    corsOrigins: [],
    trustProxy: false,
    maxConnections: 1_000,
    ...options,
  });
  const { port } = await server.listen(0, "127.0.0.1");
  t.after(() => server.close(0));

  /** Waits for a line of the log. */
  async function logged(matches: (line: LogLine) => boolean): Promise<LogLine> {
    for (;;) {
      const line = lines.find(matches);
      if (line) return line;
      await new Promise<void>((wake) => {
        const once = () => {
          waiting.delete(once);
          wake();
        };
        waiting.add(once);
      });
    }
  }

  return { server, port, url: `http://127.0.0.1:${port}`, lines, logged };
}

export interface RawAnswer {
  status: number;
  headers: Map<string, string>;
  body: string;
  /** Everything that came, byte for byte a character. */
  all: string;
}

/** Sends bytes as they are, says no more, and reads until the server has said all it will. */
export function exchangeRaw(port: number, text: string | Buffer): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    let all = "";
    socket.setEncoding("latin1");
    socket.on("data", (chunk: string) => {
      all += chunk;
    });
    socket.on("error", reject);
    socket.on("end", () => {
      socket.end();
      resolve(parseAnswer(all));
    });
    socket.write(typeof text === "string" ? Buffer.from(text, "latin1") : text);
  });
}

export function parseAnswer(all: string): RawAnswer {
  const end = all.indexOf("\r\n\r\n");
  const [statusLine = "", ...lines] = all.slice(0, end).split("\r\n");
  const headers = new Map(
    lines.map((line) => [
      line.slice(0, line.indexOf(":")).toLowerCase(),
      line.slice(line.indexOf(":") + 2),
    ]),
  );
  return { status: Number(statusLine.split(" ")[1]), headers, body: all.slice(end + 4), all };
}
