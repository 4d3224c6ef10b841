import assert from "node:assert/strict";
import { apiSuite, type CallOptions, type Suite } from "../support/app.ts";
import { sendRaw } from "../support/client.ts";
import { ROUTES } from "./routes.ts";
import { type Scenario, scenarios } from "./scenarios.ts";

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"];
const ORIGIN = "https://app.example.org";
const json = (body: string): CallOptions => ({
  body,
  headers: { "Content-Type": "application/json" },
});
const admin = { as: "admin" } as const;

const rows: Scenario[] = [
  ...[
    "/nothing",
    "/api",
    "/api/v1",
    "/api/v2/users",
    "/api/v1/users/1/2/3",
    "/api/v1/user",
    "/API/v1/users",
    "/api/v1/docs/1/bytes",
    "/index.html",
    "/api/v1/users//",
    "/.env",
    "/%2e%2e/etc/passwd",
  ].flatMap((path) =>
    ["GET", "POST"].map((method) => ({
      title: "no such route",
      at: `${method} ${path}`,
      ...admin,
      status: 404,
      detail: "Not Found",
    })),
  ),
  ...["/docs", "/redoc", "/openapi.json", "/openapi.yaml"].map((path) => ({
    title: "not outside of dev",
    at: `GET ${path}`,
    status: 404,
    detail: "Not Found",
  })),
  { title: "bad percent-encoding", at: "GET /api/v1/users/%zz", ...admin, status: 400 },
  { title: "half a character", at: "GET /api/v1/users/%ff", ...admin, status: 400 },
  { title: "an absolute target", at: "GET http://127.0.0.1/", status: 400 },
  { title: "somebody else's host in the path", at: "GET //evil.example/a", status: 400 },
  {
    title: "no JSON",
    at: "POST /api/v1/paths",
    ...admin,
    ...json("{'a': 1}"),
    status: 422,
    issues: ["json_invalid body"],
  },
  {
    title: "JSON cut short",
    at: "POST /api/v1/paths",
    ...admin,
    ...json('{"full_path": "a'),
    status: 422,
    issues: ["json_invalid body"],
  },
  {
    title: "JSON and more",
    at: "POST /api/v1/paths",
    ...admin,
    ...json('{"full_path": "a"} x'),
    status: 422,
    issues: ["json_invalid body"],
  },
  {
    title: "bytes that are no UTF-8",
    at: "POST /api/v1/paths",
    ...admin,
    body: Buffer.from([0x22, 0xff, 0x22]),
    headers: { "Content-Type": "application/json" },
    status: 422,
    issues: ["json_invalid body"],
  },
  {
    title: "a text as body",
    at: "POST /api/v1/paths",
    ...admin,
    ...json('"full_path"'),
    status: 422,
    issues: ["object body"],
  },
  {
    title: "deeply nested",
    at: "POST /api/v1/paths",
    ...admin,
    ...json("[".repeat(30_000)),
    status: 422,
  },
  {
    title: "an unknown field",
    at: "POST /api/v1/paths",
    ...admin,
    json: { full_path: "http-a", constructor: 1 },
    status: 422,
    issues: ["extra_forbidden body.constructor"],
  },
  {
    title: "a prototype",
    at: "POST /api/v1/paths",
    ...admin,
    ...json('{"full_path":"http-b","__proto__":{"depth":1}}'),
    status: 422,
    issues: ["extra_forbidden body.__proto__"],
  },
  {
    title: "other JSON",
    at: "POST /api/v1/paths",
    ...admin,
    body: "{}",
    headers: { "Content-Type": "application/merge-patch+json" },
    status: 415,
  },
  {
    title: "text",
    at: "POST /api/v1/paths",
    ...admin,
    body: "{}",
    headers: { "Content-Type": "text/plain" },
    status: 415,
  },
  { title: "no type", at: "POST /api/v1/paths", ...admin, body: "{}", status: 415 },
  {
    title: "another charset",
    at: "POST /api/v1/paths",
    ...admin,
    body: "{}",
    headers: { "Content-Type": "application/json; charset=utf-16" },
    status: 415,
  },
  {
    title: "compressed",
    at: "POST /api/v1/paths",
    ...admin,
    body: "{}",
    headers: { "Content-Type": "application/json", "Content-Encoding": "gzip" },
    status: 415,
  },
  {
    title: "with a charset",
    at: "POST /api/v1/paths",
    ...admin,
    body: '{"full_path":"charset"}',
    headers: { "Content-Type": "Application/JSON; charset=UTF-8" },
    status: 201,
  },
  {
    title: "64 KiB and a byte",
    at: "POST /api/v1/paths",
    ...admin,
    ...json(" ".repeat(65_537)),
    status: 413,
  },
  {
    title: "64 KiB",
    at: "POST /api/v1/paths",
    ...admin,
    ...json(`{"full_path":"//"}${" ".repeat(65_536 - 18)}`),
    status: 422,
  },
  {
    title: "one megabyte",
    at: "POST /api/v1/auth/login",
    form: { username: "a".repeat(1_000_000), password: "b" },
    status: 413,
  },
  {
    title: "a huge header",
    at: "GET /",
    headers: { "X-Padding": "x".repeat(20_000) },
    status: 431,
  },
];

apiSuite("http", (suite) => {
  scenarios(suite, rows);
  routes(suite);
  requestIds(suite);
  cors(suite);
  hostile(suite);
});

function routes({ test }: Suite): void {
  const patterns = new Map<string, string[]>();
  for (const [method, pattern] of ROUTES)
    patterns.set(pattern, [...(patterns.get(pattern) ?? []), method]);

  for (const [pattern, methods] of patterns) {
    test(`${pattern} answers ${methods.join(", ")} and tells so`, async (app) => {
      const path = pattern.replace(/:\w+/, "123456");
      const served = METHODS.filter((method) => methods.includes(method));
      const allow = [...served, "OPTIONS", ...(served.includes("GET") ? ["HEAD"] : [])].sort();
      const told = (value: string | null) => value?.split(", ").sort();
      for (const at of [path, `${path}/`.replace("//", "/")]) {
        const options = await app.call("OPTIONS", at);
        assert.deepEqual([options.status, told(options.headers.get("allow"))], [204, allow]);
        for (const method of [...METHODS, "TRACE", "PROPFIND"].filter(
          (method) => !served.includes(method),
        )) {
          const answer = await app.call(method, at, admin);
          assert.deepEqual(
            [method, answer.status, answer.body.detail],
            [method, 405, "Method Not Allowed"],
          );
          assert.deepEqual(told(answer.headers.get("allow")), allow);
        }
      }
    });
  }

  test("a trailing slash never matters, and is no redirect", async (app) => {
    for (const path of [
      "/api/v1/users",
      "/api/v1/users/me",
      "/api/v1/docs",
      "/api/v1/docs/me",
      "/api/v1/paths",
      "/api/v1/roles",
      "/ready",
    ]) {
      const [bare, slash] = [
        await app.call("GET", path, admin),
        await app.call("GET", `${path}/`, admin),
      ];
      assert.deepEqual([bare.status, slash.status, slash.body], [200, 200, bare.body], path);
    }
  });

  test("HEAD is GET without the body", async (app) => {
    for (const path of [
      "/",
      "/ready",
      "/api/v1/users",
      "/api/v1/users/me",
      "/api/v1/docs/me",
      "/api/v1/paths",
    ]) {
      const [get, head] = [await app.call("GET", path, admin), await app.call("HEAD", path, admin)];
      assert.deepEqual([head.status, head.bytes.length], [get.status, 0], path);
      assert.equal(head.headers.get("content-length"), get.headers.get("content-length"), path);
    }
    assert.equal((await app.call("HEAD", "/api/v1/users")).status, 401);
    assert.equal((await app.call("HEAD", "/nothing")).status, 404);
  });

  test("liveness is an empty 204, readiness names every part", async (app) => {
    const live = await app.call("GET", "/");
    assert.deepEqual(
      [live.status, live.bytes.length, live.headers.get("content-length")],
      [204, 0, null],
    );
    const { status, body } = await app.call("GET", "/ready");
    assert.deepEqual(
      [status, Object.keys(body.checks).sort()],
      [200, ["broker", "content", "database", "storage"]],
    );
  });

  test("API answers are not stored by caches", async (app) => {
    for (const [path, as] of [
      ["/api/v1/users/me", "user"],
      ["/api/v1/users/me", undefined],
      ["/api/v1/paths", "user"],
    ] as const) {
      assert.equal((await app.call("GET", path, { as })).headers.get("cache-control"), "no-store");
    }
  });
}

function requestIds({ test }: Suite): void {
  test("the client's request id comes back and stands in the log, an ill-formed one is replaced", async (app) => {
    const id = "client.id-1_2";
    const answer = await app.call("PUT", "/api/v1/users/123456", {
      ...admin,
      headers: { "X-Request-Id": id },
    });
    assert.equal(answer.headers.get("x-request-id"), id);
    const line = app.lines.find((line) => line.request_id === id && line.message === "request");
    assert.deepEqual([line?.method, line?.status, line?.user_id], ["PUT", 405, undefined]);
    for (const bad of ["with blank", "a".repeat(129), "<script>", "ü", ""]) {
      const { headers } = await app.call("GET", "/", {
        headers: { "X-Request-Id": Buffer.from(bad).toString("latin1") },
      });
      assert.match(headers.get("x-request-id") ?? "", /^[0-9a-f-]{36}$/);
    }
    const ids = await Promise.all(
      Array.from({ length: 20 }, () =>
        app.call("GET", "/").then(({ headers }) => headers.get("x-request-id")),
      ),
    );
    assert.equal(new Set(ids).size, 20);
  });

  test("a request's log line has route, status, duration, bytes, user and address", async (app) => {
    const answer = await app.call("PATCH", "/api/v1/users/123456?token=query-secret", {
      ...admin,
      json: { full_name: "Some Body" },
    });
    const { id } = await app.as("admin");
    const line = app.lines.find((line) => line.request_id === answer.headers.get("x-request-id"));
    const expected = {
      level: "info",
      method: "PATCH",
      route: "/api/v1/users/:user_id",
      status: 404,
      user_id: id,
      bytes: answer.bytes.length,
    };
    assert.deepEqual({ ...line, ...expected }, line);
    assert.ok(typeof line?.duration_ms === "number" && /127\.0\.0\.1$/.test(String(line.address)));
    assert.doesNotMatch(JSON.stringify(app.lines), /query-secret/);
  });
}

function cors({ testAlone }: Suite): void {
  const allowed = { env: { CORS_ORIGINS: `["${ORIGIN}"]` } };
  const asked = {
    "Access-Control-Request-Method": "PATCH",
    "Access-Control-Request-Headers": "authorization",
  };

  testAlone(
    "a known origin is let in, also on errors; a stranger is told nothing",
    allowed,
    async (app) => {
      for (const path of ["/", "/nothing", "/api/v1/users/me"]) {
        const friend = await app.call("GET", path, { headers: { Origin: ORIGIN } });
        assert.equal(friend.headers.get("access-control-allow-origin"), ORIGIN);
        assert.match(friend.headers.get("access-control-expose-headers") ?? "", /X-Total-Count/i);
        assert.match(friend.headers.get("vary") ?? "", /Origin/i);
        for (const Origin of [
          `${ORIGIN}.evil.example`,
          "null",
          ORIGIN.replace("https", "http"),
          `${ORIGIN}:8443`,
        ]) {
          const stranger = await app.call("GET", path, { headers: { Origin } });
          assert.equal(stranger.headers.get("access-control-allow-origin"), null, Origin);
          assert.match(stranger.headers.get("vary") ?? "", /Origin/i);
        }
      }
      const preflight = await app.call("OPTIONS", "/api/v1/users/me", {
        headers: { Origin: ORIGIN, ...asked },
      });
      assert.equal(preflight.status, 204);
      assert.match(preflight.headers.get("access-control-allow-methods") ?? "", /PATCH/);
      assert.match(preflight.headers.get("access-control-allow-headers") ?? "", /Authorization/i);
      const stranger = await app.call("OPTIONS", "/api/v1/users/me", {
        headers: { Origin: "https://evil.example", ...asked },
      });
      assert.equal(stranger.headers.get("access-control-allow-origin"), null);
      assert.equal(stranger.headers.get("access-control-allow-methods"), null);
    },
  );

  testAlone(
    "without configured origins there is no CORS at all",
    { env: { CORS_ORIGINS: "[]" } },
    async (app) => {
      const answer = await app.call("GET", "/", { headers: { Origin: ORIGIN } });
      for (const [name] of answer.headers) assert.ok(!name.startsWith("access-control"), name);
    },
  );
}

function hostile({ test }: Suite): void {
  const HEAD = "GET / HTTP/1.1\r\nConnection: close\r\n";
  for (const [title, text, status] of [
    ["two Host lines", `${HEAD}Host: a\r\nHost: b\r\n\r\n`, 400],
    ["no Host", `${HEAD}\r\n`, 400],
    [
      "two Authorization lines",
      `${HEAD}Host: a\r\nAuthorization: Bearer x\r\nAuthorization: Bearer y\r\n\r\n`,
      400,
    ],
    [
      "another transfer coding",
      "POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
      501,
    ],
    [
      "chunks and length",
      "POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
      400,
    ],
    // In this order node's parser gives no other reason than for a foreign coding.
    [
      "length and chunks",
      "POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      501,
    ],
    [
      "two lengths",
      "POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
      400,
    ],
    [
      "a negative length",
      "POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
      400,
    ],
    ["no HTTP", "hello there\r\n\r\n", 400],
    ["TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 405],
  ] as const) {
    test(`${title}: ${status}, in JSON, and the server goes on`, async (app) => {
      const answer = await sendRaw(app.url, text);
      assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `));
      assert.match(answer, /\{"detail":/);
      assert.equal((await app.call("GET", "/")).status, 204);
    });
  }

  test("two requests on one connection are answered in order, with their own ids", async (app) => {
    const one = (id: string, more = "") =>
      `GET /ready HTTP/1.1\r\nHost: a\r\nX-Request-Id: ${id}\r\n${more}\r\n`;
    const answer = await sendRaw(app.url, one("first") + one("second", "Connection: close\r\n"));
    const ids = [...answer.matchAll(/x-request-id: (\w+)/gi)].map(([, id]) => id);
    assert.deepEqual(ids, ["first", "second"]);
  });

  test("what goes wrong inside is a 500 without a word of it, and a line in the log with all of it", async (app, t) => {
    t.mock.method(app.app.database, "page", () =>
      Promise.reject(new Error("syntax error near SELECT hash")),
    );
    const answer = await app.call("GET", "/api/v1/users", admin);
    assert.deepEqual([answer.status, answer.body], [500, { detail: "Internal Server Error" }]);
    const line = app.lines.find((line) => line.request_id === answer.headers.get("x-request-id"));
    assert.equal(line?.level, "error");
    assert.match(JSON.stringify(line), /syntax error near SELECT hash/);
  });
}
