import assert from "node:assert/strict";
import { channel } from "node:diagnostics_channel";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { connect } from "node:net";
import { describe, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { within } from "../../src/errors.ts";
import { collect, readBody } from "../../src/http/incoming.ts";
import { json, noContent } from "../../src/http/replies.ts";
import type { Request, Route } from "../../src/http/request.ts";
import { until } from "../support/wait.ts";
import { exchangeRaw, startServer } from "./harness.ts";

const HEAD = "HTTP/1.1\r\nHost: here\r\n";
const CHUNK = 64 * 1024;
/** Generous: for machines that are ten times slower. */
const LIMIT_MS = 120_000;

/** The requests that node's parser reads on connections of `port`. */
function watchParser(t: { after(stop: () => void): void }, port: number): IncomingMessage[] {
  const parsed: IncomingMessage[] = [];
  const add = (message: unknown) => {
    const { request } = message as { request: IncomingMessage };
    if (request.socket.localPort === port) parsed.push(request);
  };
  const started = channel("http.server.request.start");
  started.subscribe(add);
  t.after(() => started.unsubscribe(add));
  return parsed;
}

describe("pipelined requests", () => {
  test("are served one at a time, in order, and read a chunk ahead at most", async (t) => {
    let running = 0;
    let most = 0;
    let answered = 0;
    let ahead = 0;
    const route: Route = {
      method: "GET",
      path: "/:n",
      level: "public",
      handler: async ({ params }) => {
        running += 1;
        most = Math.max(most, running);
        await turn();
        running -= 1;
        ahead = Math.max(ahead, parsed.length - answered);
        answered += 1;
        return json(Number(params.n));
      },
    };
    const server = await startServer(t, [route]);
    const parsed = watchParser(t, server.port);
    const count = 5_000;
    const request = (n: number) =>
      `GET /${String(n).padStart(4, "0")} ${HEAD}${n === count - 1 ? "Connection: close\r\n" : ""}\r\n`;
    const all = Array.from({ length: count }, (_, n) => request(n)).join("");
    const answer = await within(exchangeRaw(server.port, all), LIMIT_MS, "No answers");
    const bodies = Array.from(answer.all.matchAll(/\r\n\r\n(\d+)/g), ([, body]) => Number(body));
    assert.deepEqual(
      bodies,
      Array.from({ length: count }, (_, n) => n),
    );
    assert.equal(most, 1, "handlers at a time");
    // What is read beside a chunk is the end of the request that the chunk before it cut.
    const inChunk = Math.ceil(CHUNK / request(0).length) + 1;
    assert.ok(ahead <= inChunk, `${ahead} requests read ahead, a chunk has ${inChunk}`);
  });

  test("wait unread behind one that takes its time, with their bodies", async (t) => {
    const { promise: release, resolve: go } = Promise.withResolvers<void>();
    const sizes: number[] = [];
    const handler = async (request: Request) => {
      await release;
      sizes.push((await collect(readBody(request))).length);
      return noContent();
    };
    const server = await startServer(t, [{ method: "POST", path: "/", level: "public", handler }]);
    const parsed = watchParser(t, server.port);
    const post = (length: number, more = "") => [
      `POST / ${HEAD}${more}Content-Length: ${length}\r\n\r\n`,
      "x".repeat(length),
    ];
    // The second begins in the chunk that fills the buffer of the first, and ends it.
    const first = post(CHUNK + 9_000);
    const second = post(20 * 1024 * 1024, "Connection: close\r\n");
    const answer = exchangeRaw(server.port, [...first, ...second].join(""));
    await until(() => parsed.length === 2, "the second request");
    // Longer than the server takes to read everything when nothing holds it.
    await new Promise((resolve) => setTimeout(resolve, 500));
    const ahead = parsed[1]?.readableLength ?? 0;
    assert.ok(ahead <= 2 * CHUNK, `${ahead} bytes of a request that waits`);
    assert.deepEqual(sizes, []);
    go();
    const { all } = await within(answer, LIMIT_MS, "No answers");
    assert.equal(all.match(/HTTP\/1\.1 204/g)?.length, 2);
    assert.deepEqual(sizes, [CHUNK + 9_000, 20 * 1024 * 1024]);
  });

  test("let other connections in between", async (t) => {
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    let served = 0;
    const server = await startServer(t, [
      {
        method: "GET",
        path: "/many",
        level: "public",
        handler: () => {
          served += 1;
          begin();
          return noContent();
        },
      },
      { method: "GET", path: "/one", level: "public", handler: () => json(served) },
    ]);
    const many = `GET /many ${HEAD}\r\n`.repeat(1_400);
    const answer = exchangeRaw(server.port, `${many}GET /many ${HEAD}Connection: close\r\n\r\n`);
    await begun;
    const meanwhile = await (await fetch(`${server.url}/one`)).json();
    assert.ok(Number(meanwhile) < 1_401, "the other connection waited for all of them");
    assert.equal((await within(answer, LIMIT_MS, "No answers")).status, 204);
    assert.equal(served, 1_401);
  });

  test("behind an answer that ends the connection are not begun", async (t) => {
    let begun = 0;
    const handler = () => {
      begun += 1;
      return noContent();
    };
    const server = await startServer(t, [{ method: "GET", path: "/", level: "public", handler }]);
    const last = `GET / ${HEAD}Connection: close\r\n\r\n`;
    const answer = await exchangeRaw(server.port, last + last);
    assert.deepEqual([answer.all.match(/HTTP\/1\.1/g)?.length, begun], [1, 1]);
  });

  test("a request that was read, but not begun when the server closes, is answered", async (t) => {
    const handler = () => noContent();
    const server = await startServer(t, [{ method: "POST", path: "/", level: "public", handler }]);
    const started = channel("http.server.request.start");
    const close = (message: unknown) => {
      const { request } = message as { request: IncomingMessage };
      if (request.socket.localPort === server.port)
        process.nextTick(() => server.server.close(LIMIT_MS));
    };
    started.subscribe(close);
    t.after(() => started.unsubscribe(close));
    const answer = await exchangeRaw(server.port, `POST / ${HEAD}Content-Length: 2\r\n\r\n{}`);
    assert.equal(answer.status, 204);
  });

  test("are not begun when their client went away meanwhile", async (t) => {
    const { promise: release, resolve: go } = Promise.withResolvers<void>();
    let begun = 0;
    const handler = async () => {
      begun += 1;
      await release;
      return noContent();
    };
    const server = await startServer(t, [{ method: "GET", path: "/", level: "public", handler }]);
    const parsed = watchParser(t, server.port);
    const socket = connect(server.port, "127.0.0.1");
    socket.write(`GET / ${HEAD}\r\n`.repeat(2));
    await until(() => parsed.length === 2, "the requests");
    socket.resetAndDestroy();
    await once(socket, "close");
    go();
    const line = server.logged(({ message }) => message === "request");
    assert.equal((await within(line, LIMIT_MS, "No line of the log")).aborted, true);
    await server.server.close(LIMIT_MS);
    assert.equal(begun, 1);
  });
});
