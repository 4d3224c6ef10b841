import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { Readable } from "node:stream";
import { describe, test } from "node:test";
import { unavailable } from "../../src/errors.ts";
import type { Route } from "../../src/http/request.ts";
import { memoryInUse } from "../support/memory.ts";
import { startServer } from "./harness.ts";

const get = (path: string, handler: Route["handler"]): Route => ({
  method: "GET",
  path,
  level: "public",
  handler,
});

describe("streamed replies", () => {
  const endless = () => {
    let produced = 0;
    const stream = new Readable({
      read() {
        produced += 65_536;
        this.push(Buffer.alloc(65_536));
      },
    });
    return { stream, produced: () => produced };
  };

  test("arrive whole, and HEAD destroys the source unread", async (t) => {
    const sources: Readable[] = [];
    const server = await startServer(t, [
      get("/", () => {
        const source = Readable.from([Buffer.alloc(100_000, "a"), Buffer.alloc(100_000, "b")]);
        sources.push(source);
        return { status: 200, headers: { "Content-Length": "200000" }, body: source };
      }),
    ]);
    const text = await (await fetch(server.url)).text();
    assert.equal(text, "a".repeat(100_000) + "b".repeat(100_000));
    const head = await fetch(server.url, { method: "HEAD" });
    assert.equal(head.headers.get("content-length"), "200000");
    await server.logged(({ method }) => method === "HEAD");
    assert.deepEqual(
      sources.map(({ destroyed }) => destroyed),
      [true, true],
    );
    assert.equal(server.lines.find(({ method }) => method === "GET")?.bytes, 200_000);
  });

  test("a source that fails before its first byte is an error answer", async (t) => {
    const failing = (error: Error) =>
      new Readable({
        read() {
          this.destroy(error);
        },
      });
    const server = await startServer(t, [
      get("/503", () => ({
        status: 200,
        headers: { "Content-Length": "9", ETag: '"a"' },
        body: failing(unavailable("It")),
      })),
      get("/500", () => ({ status: 200, headers: {}, body: failing(new Error("secret")) })),
      get("/gone", () => ({
        status: 200,
        headers: {},
        body: new Readable({ read() {} }).destroy(),
      })),
    ]);
    const answer = await fetch(`${server.url}/503`);
    assert.deepEqual([answer.status, answer.headers.get("etag")], [503, null]);
    assert.equal((await fetch(`${server.url}/500`)).status, 500);
    assert.equal((await fetch(`${server.url}/gone`)).status, 500);
  });

  test("a malformed body of the request is a 400, though its answer is a stream", async (t) => {
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    const server = await startServer(t, [
      get("/", async ({ signal }) => {
        begin();
        await once(signal, "abort");
        return { status: 200, headers: {}, body: Readable.from([Buffer.from("abc")]) };
      }),
    ]);
    const socket = connect(server.port, "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n");
    await begun;
    socket.write("zz\r\n");
    const [chunk] = await once(socket, "data");
    assert.match(String(chunk), /^HTTP\/1\.1 400 /);
    socket.destroy();
  });

  for (const [promise, chunks, error] of [
    ["that fails half-way", ["abc"], new Error("disk")],
    ["that is shorter than announced", ["abc"], undefined],
    ["that is longer than announced", ["abcdefgh", "ijkl"], undefined],
  ] as const) {
    test(`a source ${promise} cuts the connection and is logged as an error`, async (t) => {
      const server = await startServer(t, [
        get("/", () => ({
          status: 200,
          headers: { "Content-Length": "10" },
          body: Readable.from(
            (async function* () {
              yield* chunks.map((chunk) => Buffer.from(chunk));
              if (error) throw error;
            })(),
          ),
        })),
      ]);
      await assert.rejects(fetch(server.url).then((answer) => answer.text()));
      const line = await server.logged(({ message }) => message === "request");
      assert.equal(line.level, "error");
      assert.match(JSON.stringify(line.error), error ? /disk/ : /CONTENT_LENGTH_MISMATCH/);
    });
  }

  test("a client that goes away, or only stops reading, holds no more than a few chunks", async (t) => {
    const { stream, produced } = endless();
    const server = await startServer(t, [
      get("/", () => ({ status: 200, headers: {}, body: stream })),
    ]);
    const socket = connect(server.port, "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\nHost: here\r\n\r\n");
    await once(socket, "readable");
    let before = -1;
    // The kernel's buffers fill up, then production must stop.
    while (before !== produced()) {
      before = produced();
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.ok(produced() < 64 * 1024 * 1024, String(produced()));
    socket.resetAndDestroy();
    await new Promise((resolve) => stream.once("close", resolve));
    const line = await server.logged(({ message }) => message === "request");
    assert.deepEqual([line.level, line.aborted, line.status], ["info", true, 200]);
  });

  test("ten clients at once are served in flat memory", async (t) => {
    const size = 40 * 1024 * 1024;
    const chunk = Buffer.alloc(65_536);
    const server = await startServer(t, [
      get("/", () => {
        let left = size / chunk.length;
        const stream = new Readable({
          read() {
            this.push(left-- > 0 ? chunk : null);
          },
        });
        return { status: 200, headers: { "Content-Length": String(size) }, body: stream };
      }),
    ]);
    let peak = 0;
    const start = memoryInUse().arrayBuffers;
    let chunks = 0;
    await Promise.all(
      Array.from({ length: 10 }, async () => {
        let received = 0;
        for await (const chunk of (await fetch(server.url)).body ?? []) {
          received += chunk.length;
          chunks += 1;
          if (chunks % 100 === 0) peak = Math.max(peak, memoryInUse().arrayBuffers - start);
        }
        assert.equal(received, size);
      }),
    );
    assert.ok(peak < 200 * 1024 * 1024, `${peak} bytes beside 400 MB sent`);
  });
});
