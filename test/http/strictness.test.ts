import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import fc from "fast-check";
import { json } from "../../src/http/replies.ts";
import { exchangeRaw, type Harness, parseAnswer, startServer } from "./harness.ts";

const HOST = "Host: here\r\n";
const CLOSE = "Connection: close\r\n";
const request = (line: string, headers = HOST, body = "") =>
  `${line} HTTP/1.1\r\n${headers}${CLOSE}\r\n${body}`;

describe("on the wire", () => {
  let server: Harness;
  let stop: () => Promise<void>;
  after(() => stop());
  before(async () => {
    server = await startServer({ after: (close) => (stop = close) }, [
      { method: "GET", path: "/", level: "public", handler: () => ({ status: 204, headers: {} }) },
      {
        method: "GET",
        path: "/x/:id",
        level: "public",
        handler: ({ params }) => json({ id: params.id }),
      },
      { method: "POST", path: "/x/:id", level: "public", handler: () => json("done") },
    ]);
  });

  const table: [promise: string, bytes: string, status: number, allow?: string][] = [
    ["a plain request passes", request("GET /x/1"), 200],
    ["HTTP/1.0 needs no Host", "GET /x/1 HTTP/1.0\r\n\r\n", 200],
    ["HTTP/1.1 needs one", request("GET /x/1", ""), 400],
    ["two Host lines", request("GET /x/1", HOST + HOST), 400],
    ["a Host that is no host", request("GET /x/1", "Host: a b\r\n"), 400],
    [
      "two Authorization lines",
      request("GET /x/1", `${HOST}Authorization: a\r\nauthorization: a\r\n`),
      400,
    ],
    [
      "two Content-Type lines",
      request("GET /x/1", `${HOST}Content-Type: a/b\r\nContent-Type: a/b\r\n`),
      400,
    ],
    [
      "two Content-Length lines",
      request("POST /x/1", `${HOST}Content-Length: 1\r\nContent-Length: 1\r\n`, "x"),
      400,
    ],
    [
      "two hidden behind many headers",
      request("GET /x/1", `${HOST}${"a:\r\n".repeat(3000)}${HOST}`),
      400,
    ],
    ["a target in absolute form", request("GET http://evil/x/1"), 400],
    ["a target that begins with two slashes", request("GET //evil/a"), 400],
    ["an asterisk", request("OPTIONS *"), 400],
    ["a target without a slash", request("GET x/1"), 400],
    ["a fragment", request("GET /x/1#a"), 400],
    ["bytes beyond ASCII", request("GET /x/\xe9"), 400],
    ["bad percent-encoding in the path", request("GET /x/%zz"), 400],
    ["bad percent-encoding in the query", request("GET /x/1?a=%zz"), 400],
    ["UTF-8 that is none", request("GET /x/%ff"), 400],
    ["an encoded NUL in the path", request("GET /x/a%00"), 400],
    ["an encoded line break in the path", request("GET /x/a%0a"), 400],
    ["an encoded NUL in the query", request("GET /x/1?q=%00"), 400],
    ["a raw NUL", request("GET /x/\0"), 400],
    ["an empty segment", request("GET /x//1"), 404],
    ["an unknown path", request("GET /y"), 404],
    ["TRACE", request("TRACE /x/1"), 405, "GET, HEAD, POST, OPTIONS"],
    ["PROPFIND", request("PROPFIND /x/1"), 405, "GET, HEAD, POST, OPTIONS"],
    ["a method that nobody knows", request("FOO /x/1"), 400],
    ["an upgrade is not taken up", request("GET /x/1", `${HOST}Upgrade: websocket\r\n`), 200],
    ["OPTIONS says what is allowed", request("OPTIONS /x/1"), 204, "GET, HEAD, POST, OPTIONS"],
    [
      "chunked passes",
      request("POST /x/1", `${HOST}Transfer-Encoding: Chunked\r\n`, "0\r\n\r\n"),
      200,
    ],
    ...["gzip", "gzip, chunked", "chunked, chunked", "identity", "xchunked", "", "chunked;q=1"].map(
      (coding): [string, string, number] => [
        `transfer coding '${coding}'`,
        request("POST /x/1", `${HOST}Transfer-Encoding: ${coding}\r\n`, "0\r\n\r\n"),
        501,
      ],
    ),
    [
      "two chunked lines",
      request("POST /x/1", `${HOST}${"Transfer-Encoding: chunked\r\n".repeat(2)}`, "0\r\n\r\n"),
      501,
    ],
    [
      "a length beside chunked",
      request(
        "POST /x/1",
        `${HOST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n`,
        "0\r\n\r\n",
      ),
      400,
    ],
    [
      "chunked in HTTP/1.0",
      "POST /x/1 HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      400,
    ],
    ["a negative length", request("POST /x/1", `${HOST}Content-Length: -1\r\n`), 400],
    ["a blank before the colon", request("GET /x/1", `${HOST}A : b\r\n`), 400],
    ["a folded header", request("GET /x/1", `${HOST}A: b\r\n c\r\n`), 400],
    ["bare line feeds", "GET /x/1 HTTP/1.1\nHost: here\n\n", 400],
    ["headers beyond 16 KiB", request("GET /x/1", `${HOST}A: ${"a".repeat(20_000)}\r\n`), 431],
    ["megabytes of header", request("GET /x/1", `${HOST}A: ${"a".repeat(3_000_000)}\r\n`), 431],
    ["a target beyond 16 KiB", request(`GET /${"a".repeat(20_000)}`), 431],
    ["another version", "GET / HTTP/3.0\r\n\r\n", 400],
    [
      "a chunk without a size",
      request("POST /x/1", `${HOST}Transfer-Encoding: chunked\r\n`, "zz\r\n"),
      400,
    ],
    ["a TLS handshake", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400],
  ];
  for (const [promise, bytes, status, allow] of table) {
    test(`${promise} → ${status}`, async () => {
      const answer = await exchangeRaw(server.port, bytes);
      assert.equal(answer.status, status, answer.all);
      assert.equal(answer.headers.get("allow"), allow);
      assert.equal(answer.headers.get("x-content-type-options"), "nosniff");
      assert.equal(answer.headers.get("cache-control"), "no-store");
      assert.match(answer.headers.get("x-request-id") ?? "", /^[\w.-]+$/);
      assert.equal(answer.headers.has("server") || answer.headers.has("x-powered-by"), false);
      if (status === 204) return;
      assert.equal(answer.headers.get("content-length"), String(answer.body.length));
      assert.match(answer.headers.get("content-type") ?? "", /^application\/json/);
      if (status >= 400) assert.equal(typeof JSON.parse(answer.body).detail, "string");
    });
  }

  test("CONNECT ends the connection", async () => {
    assert.equal((await exchangeHalf(server.port, request("CONNECT here:80"))).all, "");
  });

  test("nonsense after requests is refused when these are answered", async () => {
    const get = (id: string) => `GET /x/${id} HTTP/1.1\r\n${HOST}\r\n`;
    const { all } = await exchangeRaw(server.port, `${get("1")}${get("2")}NONSENSE\r\n\r\n`);
    assert.deepEqual(all.match(/\{"id":"\d"\}|Malformed/g), [
      '{"id":"1"}',
      '{"id":"2"}',
      "Malformed",
    ]);
    assert.deepEqual(all.match(/HTTP\/1\.1 \d+/g), [
      "HTTP/1.1 200",
      "HTTP/1.1 200",
      "HTTP/1.1 400",
    ]);
  });

  test("HEAD has the headers of GET and no body", async () => {
    const head = await exchangeRaw(server.port, request("HEAD /x/1"));
    const get = await exchangeRaw(server.port, request("GET /x/1"));
    assert.equal(head.body, "");
    assert.equal(head.headers.get("content-length"), get.headers.get("content-length"));
  });

  test("whatever bytes come, the answer is a refusal or none, and the server lives on", async () => {
    const pieces = fc.array(
      fc.oneof(
        fc.constantFrom(
          "GET ",
          "POST ",
          "/x/1",
          " HTTP/1.1",
          "\r\n",
          "\r\n\r\n",
          HOST,
          "Content-Length: 3\r\n",
          "%",
        ),
        fc.constantFrom(
          "Transfer-Encoding: chunked\r\n",
          "Expect: 100-continue\r\n",
          "0\r\n\r\n",
          ":",
          "\0",
          "\xff",
        ),
        fc.string({ maxLength: 10 }),
      ),
      { maxLength: 12 },
    );
    await fc.assert(
      fc.asyncProperty(pieces, async (parts) => {
        const { all } = await exchangeHalf(server.port, parts.join(""));
        for (const status of all.matchAll(/HTTP\/1\.1 (\d+)/g))
          assert.notEqual(status[1], "500", all);
      }),
      { numRuns: 150 },
    );
    assert.equal((await exchangeRaw(server.port, request("GET /x/1"))).status, 200);
    assert.equal(
      server.lines.filter((line) => line.message !== "request" && line.level === "error").length,
      0,
    );
  });
});

/** As `exchangeRaw`, with the sending side ended after the bytes. */
async function exchangeHalf(port: number, text: string) {
  const { connect } = await import("node:net");
  return new Promise<ReturnType<typeof parseAnswer>>((resolve) => {
    const socket = connect(port, "127.0.0.1");
    let all = "";
    socket.on("data", (chunk) => {
      all += chunk.toString("latin1");
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(parseAnswer(all)));
    socket.end(Buffer.from(text, "latin1"));
  });
}
