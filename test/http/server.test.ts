import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { describe, test } from "node:test";
import { AppError } from "../../src/errors.ts";
import { json } from "../../src/http/replies.ts";
import type { Request, Route } from "../../src/http/request.ts";
import { HttpServer } from "../../src/http/server.ts";
import { until } from "../support/wait.ts";
import { exchangeRaw, startServer } from "./harness.ts";

type Handler = Route["handler"];
const get = (path: string, handler: Handler, level = "public"): Route => ({
  method: "GET",
  path,
  level,
  handler,
});

describe("errors", () => {
  const thrown: [
    promise: string,
    error: unknown,
    status: number,
    body: unknown,
    headers: Record<string, string>,
  ][] = [
    ["a 404", new AppError("not_found", "User not found"), 404, { detail: "User not found" }, {}],
    [
      "a 422 with its list",
      new AppError("validation_failed", [
        { type: "missing", loc: ["body", "a"], msg: "Field required" },
      ]),
      422,
      { detail: [{ type: "missing", loc: ["body", "a"], msg: "Field required" }] },
      {},
    ],
    [
      "a 401",
      new AppError("not_authenticated", "No"),
      401,
      { detail: "No" },
      { "www-authenticate": "Bearer" },
    ],
    [
      "a 503",
      new AppError("unavailable", "No", { headers: { "Retry-After": "7" } }),
      503,
      { detail: "No" },
      { "retry-after": "7" },
    ],
    [
      "a 503 without a time",
      new AppError("unavailable", "No"),
      503,
      { detail: "No" },
      { "retry-after": "5" },
    ],
    [
      "a 429",
      new AppError("too_many_requests", "No"),
      429,
      { detail: "No" },
      { "retry-after": "5" },
    ],
    ["a full disk", new AppError("insufficient_storage", "No"), 507, { detail: "No" }, {}],
    ["what can't be done here", new AppError("not_implemented", "No"), 501, { detail: "No" }, {}],
    ["any other error", new Error("secret"), 500, { detail: "Internal Server Error" }, {}],
    ["what is no error", "secret", 500, { detail: "Internal Server Error" }, {}],
    ["nothing at all", undefined, 500, { detail: "Internal Server Error" }, {}],
  ];
  for (const [promise, error, status, body, headers] of thrown) {
    test(`${promise} becomes a ${status}`, async (t) => {
      const server = await startServer(t, [
        get("/", () => {
          throw error;
        }),
      ]);
      const answer = await fetch(server.url);
      assert.equal(answer.status, status);
      const text = await answer.text();
      if (body) assert.deepEqual(JSON.parse(text), body);
      assert.doesNotMatch(text, /secret/);
      for (const [name, value] of Object.entries(headers))
        assert.equal(answer.headers.get(name), value);
      const line = await server.logged(({ message }) => message === "request");
      assert.equal(line.status, status);
      const level = status === 500 ? "error" : status === 503 || status === 507 ? "warn" : "info";
      assert.equal(line.level, level);
      if (level === "info") assert.equal(line.error, undefined);
      else if (error instanceof Error) assert.match(JSON.stringify(line.error), /secret|No/);
    });
  }

  test("a reply with an impossible header is a 500, not a hang", async (t) => {
    const server = await startServer(t, [get("/", () => json(1, 200, { "X-Name": "مستند" }))]);
    assert.equal((await fetch(server.url)).status, 500);
  });
});

describe("requests", () => {
  test("the guard is asked with the route's level, and its caller reaches the handler", async (t) => {
    const asked: string[] = [];
    const server = await startServer(
      t,
      [get("/a/:id", (request, caller) => json([request.params.id, caller]), "admin")],
      {
        authorize: async (level) => {
          asked.push(level);
          return "Anna";
        },
      },
    );
    assert.deepEqual(await (await fetch(`${server.url}/a/b`)).json(), ["b", "Anna"]);
    assert.deepEqual(asked, ["admin"]);
  });

  test("a well-formed request id is kept, any other is replaced, and the log has the same", async (t) => {
    const server = await startServer(t, [
      get("/", ({ id, logFields }) => {
        logFields.user_id = 7;
        return json({ id });
      }),
    ]);
    const idOf = async (own: string) => {
      const answer = await fetch(server.url, { headers: { "X-Request-Id": own } });
      const id = answer.headers.get("x-request-id");
      assert.deepEqual(await answer.json(), { id });
      const line = await server.logged(({ request_id }) => request_id === id);
      assert.deepEqual([line.method, line.route, line.status, line.user_id], ["GET", "/", 200, 7]);
      assert.equal(line.address, "127.0.0.1");
      assert.equal(line.bytes, JSON.stringify({ id }).length);
      assert.equal(typeof line.duration_ms, "number");
      return id;
    };
    assert.equal(await idOf("abc.DEF_1-2"), "abc.DEF_1-2");
    for (const bad of ["", "a b", "a,b", "x".repeat(129), '"'])
      assert.match((await idOf(bad)) ?? "", /^[\da-f-]{36}$/);
  });

  const addresses: [forwarded: string, trust: boolean, expected: string][] = [
    ["1.2.3.4", false, "127.0.0.1"],
    ["1.2.3.4", true, "1.2.3.4"],
    ["6.6.6.6, 1.2.3.4", true, "1.2.3.4"],
    ["1.2.3.4, garbage", true, "127.0.0.1"],
    ["", true, "127.0.0.1"],
    ["::ffff:1.2.3.4", true, "1.2.3.4"],
    ["2001:db8::1", true, "2001:db8::1"],
    ["[2001:db8::1]:443", true, "2001:db8::1"],
    ["1.2.3.4:5678", true, "1.2.3.4"],
    ["1.2.3.4, 1.2.3.256", true, "127.0.0.1"],
  ];
  for (const [forwarded, trustProxy, expected] of addresses) {
    test(`X-Forwarded-For: ${forwarded} is ${trustProxy ? "trusted" : "not trusted"} → ${expected}`, async (t) => {
      const server = await startServer(t, [get("/", ({ address }) => json(address))], {
        trustProxy,
      });
      const answer = await fetch(server.url, { headers: { "X-Forwarded-For": forwarded } });
      assert.equal(await answer.json(), expected);
    });
  }

  test("the signal tells a handler that its client went away, and the log line says aborted", async (t) => {
    const { promise: begun, resolve } = Promise.withResolvers<Request>();
    const server = await startServer(t, [
      get("/", async (request) => {
        resolve(request);
        if (!request.signal.aborted) await once(request.signal, "abort");
        throw request.signal.reason;
      }),
    ]);
    const socket = connect(server.port, "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\nHost: here\r\n\r\n");
    await begun;
    socket.resetAndDestroy();
    const line = await server.logged(({ message }) => message === "request");
    assert.deepEqual([line.status, line.aborted, line.level], [499, true, "info"]);
  });

  test("a fault is logged with its cause, also when its client is gone", async (t) => {
    const { promise: begun, resolve } = Promise.withResolvers<Request>();
    const server = await startServer(t, [
      get("/", async (request) => {
        resolve(request);
        if (!request.signal.aborted) await once(request.signal, "abort");
        throw new Error("the disk is broken");
      }),
    ]);
    const socket = connect(server.port, "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\nHost: here\r\n\r\n");
    await begun;
    socket.resetAndDestroy();
    const line = await server.logged(({ message }) => message === "request");
    assert.deepEqual([line.status, line.level], [499, "error"]);
    assert.match(JSON.stringify(line.error), /the disk is broken/);
  });
});

describe("replies", () => {
  test("lengths are bytes, and a handler's own Cache-Control wins", async (t) => {
    const server = await startServer(t, [
      get("/", () => json("مستند 😀", 200, { "Cache-Control": "max-age=9" })),
    ]);
    const answer = await fetch(server.url);
    assert.equal(answer.headers.get("cache-control"), "max-age=9");
    assert.equal(answer.headers.get("content-length"), String(Buffer.byteLength('"مستند 😀"')));
    assert.equal(await answer.json(), "مستند 😀");
  });

  test("204 and 304 have neither body nor length; another status without a body has length 0", async (t) => {
    const server = await startServer(t, [
      get("/204", () => ({ status: 204, headers: {} })),
      get("/304", () => ({ status: 304, headers: { ETag: '"a"' }, body: "ignored" })),
      get("/200", () => ({ status: 200, headers: {} })),
    ]);
    const ask = (path: string) =>
      exchangeRaw(server.port, `GET ${path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n`);
    for (const path of ["/204", "/304"]) {
      const answer = await ask(path);
      assert.deepEqual([answer.body, answer.headers.has("content-length")], ["", false]);
    }
    assert.equal((await ask("/200")).headers.get("content-length"), "0");
  });

  test("CORS answers known origins only, also on errors and preflights", async (t) => {
    const server = await startServer(t, [get("/", () => json(1))], {
      corsOrigins: ["http://ui.example"],
    });
    const ask = async (
      path: string,
      origin: string,
      init: RequestInit & { headers?: object } = {},
    ) =>
      (await fetch(server.url + path, { ...init, headers: { ...init.headers, Origin: origin } }))
        .headers;
    const good = await ask("/", "http://ui.example");
    assert.equal(good.get("access-control-allow-origin"), "http://ui.example");
    assert.equal(good.get("access-control-allow-credentials"), "true");
    assert.match(good.get("access-control-expose-headers") ?? "", /X-Request-Id, X-Total-Count/);
    assert.equal(good.get("vary"), "Origin");
    assert.equal(
      (await ask("/nowhere", "http://ui.example")).get("access-control-allow-origin"),
      "http://ui.example",
    );
    for (const origin of [
      "http://UI.example",
      "http://ui.example.evil",
      "https://ui.example",
      "null",
    ]) {
      const bad = await ask("/", origin);
      assert.equal(bad.get("access-control-allow-origin"), null);
      assert.match(bad.get("vary") ?? "", /Origin/);
    }
    const preflight = { method: "OPTIONS", headers: { "Access-Control-Request-Method": "GET" } };
    const allowed = await ask("/", "http://ui.example", preflight);
    assert.equal(allowed.get("access-control-allow-methods"), "GET, HEAD, OPTIONS");
    assert.match(allowed.get("access-control-allow-headers") ?? "", /Authorization, Content-Type/);
    assert.match(allowed.get("access-control-max-age") ?? "", /^\d+$/);
    assert.equal(
      (await ask("/", "http://evil.example", preflight)).get("access-control-allow-methods"),
      null,
    );
  });
});

describe("connections", () => {
  test("beyond the limit are dropped, which the log tells once, until another ends", async (t) => {
    const server = await startServer(t, [get("/", () => json(1))], { maxConnections: 2 });
    const open = () => connect(server.port, "127.0.0.1").on("error", () => {});
    const kept = [open(), open()];
    await Promise.all(kept.map((socket) => once(socket, "connect")));
    for (const _ of [1, 2, 3]) {
      const dropped = open().on("data", () => assert.fail("an answer"));
      dropped.write("GET / HTTP/1.1\r\nHost: here\r\n\r\n");
      await new Promise((resolve) => dropped.once("close", resolve));
    }
    const lines = server.lines.filter(({ level }) => level === "warn");
    assert.deepEqual(
      lines.map(({ maxConnections }) => maxConnections),
      [2],
    );
    kept[0]?.write("GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    kept[0]?.resume();
    const passes = () =>
      fetch(server.url).then(
        ({ ok }) => ok,
        () => false,
      );
    await until(passes, "room for another connection");
    kept[1]?.destroy();
  });
});

describe("closing", () => {
  test("idle connections end at once, a request in flight is answered with Connection: close", async (t) => {
    const { promise: release, resolve: go } = Promise.withResolvers<void>();
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    const { server, port } = await startServer(t, [
      get("/", () => json(1)),
      get("/slow", async () => {
        begin();
        await release;
        return json("finished");
      }),
    ]);
    const silent = connect(port, "127.0.0.1");
    await once(silent, "connect");
    const idle = connect(port, "127.0.0.1");
    idle.write("GET / HTTP/1.1\r\nHost: here\r\n\r\n");
    await once(idle, "data");
    const slow = exchangeRaw(port, "GET /slow HTTP/1.1\r\nHost: here\r\n\r\n");
    await begun;
    for (const socket of [silent, idle]) socket.resume().on("error", () => {});
    const ended = Promise.all([once(silent, "close"), once(idle, "close")]);
    const closed = server.close(60_000);
    assert.equal(server.closing, true);
    await ended;
    await assert.rejects(fetch(`http://127.0.0.1:${port}/`));
    go();
    const answer = await slow;
    assert.deepEqual(
      [answer.status, answer.headers.get("connection"), answer.body],
      [200, "close", '"finished"'],
    );
    await closed;
  });

  test("after the time-out every connection is cut", async (t) => {
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    const { server, port } = await startServer(t, [
      get("/", async ({ signal }) => {
        begin();
        await once(signal, "abort");
        throw signal.reason;
      }),
    ]);
    const cut = assert.rejects(fetch(`http://127.0.0.1:${port}/`));
    await begun;
    await server.close(10);
    await cut;
  });

  test("an address in use is a rejection", async (t) => {
    const { port } = await startServer(t, []);
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const second = new HttpServer({
      routes: [],
      authorize: async () => 0,
      log,
      corsOrigins: [],
      trustProxy: false,
      maxConnections: 1,
    });
    await assert.rejects(second.listen(port, "127.0.0.1"), { code: "EADDRINUSE" });
    await second.close(0);
  });
});
