import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import fc from "fast-check";
import * as v from "valibot";
import { within } from "../../src/errors.ts";
import { readForm, readJson, readParams, readQuery, refuseBody } from "../../src/http/body.ts";
import { json } from "../../src/http/replies.ts";
import type { Method, Request, Route } from "../../src/http/request.ts";
import { exchangeRaw, type Harness, startServer } from "./harness.ts";

const person = v.strictObject({
  name: v.pipe(v.string(), v.minLength(3), v.maxLength(5)),
  age: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1))),
  role: v.optional(v.picklist(["admin", "user"])),
});
const form = v.object({ username: v.pipe(v.string(), v.maxLength(9)), password: v.string() });
const route = (method: Method, path: string, read: (request: Request) => unknown): Route => ({
  method,
  path,
  level: "public",
  handler: async (request) => json({ got: await read(request) }),
});
const routes = [
  route("POST", "/json", (request) => readJson(request, person)),
  route("POST", "/loose", (request) =>
    readJson(request, v.strictObject({ a: v.optional(v.string()) })),
  ),
  route("POST", "/form", (request) => readForm(request, form)),
  route("GET", "/query", (request) => readQuery(request, v.object({ a: v.optional(v.string()) }))),
  route("GET", "/path/:id", (request) =>
    readParams(request, v.object({ id: v.pipe(v.string(), v.regex(/^\d+$/, "A number")) })),
  ),
  route("POST", "/bare", (request) => refuseBody(request, "No body, please.")),
];
const JSON_TYPE = "application/json";
const FORM_TYPE = "application/x-www-form-urlencoded";

interface Answer {
  got?: unknown;
  detail?: string | { loc: unknown[] }[];
}

describe("bodies", () => {
  let server: Harness;
  let stop: () => Promise<void>;
  before(async () => {
    server = await startServer({ after: (close) => (stop = close) }, routes, {
      bodyIdleTimeoutMs: 200,
    });
  });
  after(() => stop());

  async function post(
    path: string,
    body: string | Buffer,
    type: string | undefined,
    headers: object = {},
  ) {
    const answer = await fetch(server.url + path, {
      method: "POST",
      body: Buffer.from(body),
      headers: { ...(type === undefined ? {} : { "Content-Type": type }), ...headers },
    });
    return { status: answer.status, ...((await answer.json()) as Answer) };
  }
  const issue = (type: string, loc: unknown[], msg: string) => ({ type, loc, msg });

  describe("JSON", () => {
    const good: [string, string | Buffer, string][] = [
      ["plain", '{"name":"Anna"}', JSON_TYPE],
      ["with a charset", '{"name":"Anna"}', 'Application/JSON; charset="UTF-8"'],
      ["with another parameter", '{"name":"Anna"}', "application/json;profile=x"],
      ["behind a byte order mark", '\ufeff{"name":"Anna"}', JSON_TYPE],
      ["of any script", '{"name":"سلام"}', JSON_TYPE],
    ];
    for (const [promise, body, type] of good) {
      test(`is read: ${promise}`, async () =>
        assert.equal((await post("/json", body, type)).status, 200));
    }

    for (const type of [
      undefined,
      "text/plain",
      "application/json; charset=latin1",
      "application/json, text/plain",
      "application/jsonp",
      FORM_TYPE,
      "json",
      'application/json; charset="utf-8',
    ]) {
      test(`is refused as ${type}: 415`, async () =>
        assert.equal((await post("/json", '{"name":"Anna"}', type)).status, 415));
    }

    test("is refused when compressed: 415", async () => {
      const answer = await post("/json", "{}", JSON_TYPE, { "Content-Encoding": "gzip" });
      assert.equal(answer.status, 415);
    });

    const issues: [string, string | Buffer, unknown[]][] = [
      ["no JSON", "{name:1}", [issue("json_invalid", ["body"], "The body is not valid JSON")]],
      [
        "bad UTF-8",
        Buffer.from('{"name":"\xff"}', "latin1"),
        [issue("json_invalid", ["body"], "The body is not valid UTF-8")],
      ],
      ["nothing", "", [issue("missing", ["body"], "A request body is required")]],
      ["a number", "5", [issue("object", ["body"], "Must be an object")]],
      ["null", "null", [issue("object", ["body"], "Must be an object")]],
      ["an array", "[]", [issue("object", ["body"], "Must be an object")]],
      ["a missing field", "{}", [issue("missing", ["body", "name"], "Field required")]],
      ["another type", '{"name":7}', [issue("string", ["body", "name"], "Must be a string")]],
      [
        "too short",
        '{"name":"s3"}',
        [issue("min_length", ["body", "name"], "Must be at least 3 characters")],
      ],
      [
        "too long",
        '{"name":"secret"}',
        [issue("max_length", ["body", "name"], "Must be at most 5 characters")],
      ],
      [
        "several faults at once",
        '{"age":0.5,"role":"secret","x":1,"__proto__":{"y":1},"constructor":1,"toString":1}',
        [
          issue("missing", ["body", "name"], "Field required"),
          issue("integer", ["body", "age"], "Must be a whole number"),
          issue("min_value", ["body", "age"], "Must be at least 1"),
          issue("picklist", ["body", "role"], 'Must be one of "admin", "user"'),
          issue("extra_forbidden", ["body", "x"], "Unknown field"),
        ],
      ],
    ];
    for (const [promise, body, detail] of issues) {
      test(`is a 422 with its issues: ${promise}`, async () => {
        assert.deepEqual(await post("/json", body, JSON_TYPE), { status: 422, detail });
      });
    }

    test("an array is no object without fields", async () => {
      assert.equal((await post("/loose", "{}", JSON_TYPE)).status, 200);
      assert.equal((await post("/loose", "[]", JSON_TYPE)).status, 422);
    });

    test("no issue repeats a value", async () => {
      const value = fc.oneof(
        fc.constant("s3cr3t"),
        fc.constant(["s3cr3t"]),
        fc.constant({ a: "s3cr3t" }),
      );
      await fc.assert(
        fc.asyncProperty(fc.record({ name: value, age: value, role: value }), async (body) => {
          const answer = await post("/json", JSON.stringify(body), JSON_TYPE);
          assert.equal(answer.status, 422);
          assert.doesNotMatch(JSON.stringify(answer), /s3cr3t/);
        }),
        { numRuns: 30 },
      );
    });

    test("exactly 64 KiB are read, one byte more is a 413, announced or not", async () => {
      const padded = (size: number) => '{"name":"Anna"}'.padEnd(size);
      assert.equal((await post("/json", padded(65_536), JSON_TYPE)).status, 200);
      assert.deepEqual(await post("/json", padded(65_537), JSON_TYPE), {
        status: 413,
        detail: "Request body too large",
      });
      const chunked = await fetch(`${server.url}/json`, {
        method: "POST",
        headers: { "Content-Type": JSON_TYPE },
        body: new Blob([padded(65_537)]).stream(),
        duplex: "half",
      } as RequestInit);
      assert.equal(chunked.status, 413);
    });

    test("a body nested as deep as it may be long is answered", async () => {
      assert.equal((await post("/json", "[".repeat(65_000), JSON_TYPE)).status, 422);
      const deep = `${'{"a":'.repeat(10_000)}1${"}".repeat(10_000)}`;
      assert.equal((await post("/json", deep, JSON_TYPE)).status, 422);
    });

    test("a body that stalls is a 408, and the connection ends", async () => {
      const head = `POST /json HTTP/1.1\r\nHost: here\r\nContent-Type: ${JSON_TYPE}\r\nContent-Length: 10\r\n\r\n{`;
      const socket = connect(server.port, "127.0.0.1");
      socket.write(head);
      const [chunk] = await once(socket, "data");
      assert.match(String(chunk), /^HTTP\/1\.1 408 [\s\S]*"detail"/);
      socket.destroy();
    });

    test("a body whose chunks prove malformed while it is read is a 400", async () => {
      const socket = connect(server.port, "127.0.0.1");
      socket.write(
        `POST /json HTTP/1.1\r\nHost: here\r\nContent-Type: ${JSON_TYPE}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n`,
      );
      await new Promise((resolve) => setTimeout(resolve, 50));
      socket.write("zz\r\n");
      const [chunk] = await once(socket, "data");
      assert.match(String(chunk), /^HTTP\/1\.1 400 [\s\S]*connection: close[\s\S]*Malformed/i);
      socket.destroy();
    });

    test("a slow but steady body is read when it is whole in time", async () => {
      const body = '{"name":"Anna"}';
      const socket = connect(server.port, "127.0.0.1");
      socket.write(
        `POST /json HTTP/1.1\r\nHost: here\r\nContent-Type: ${JSON_TYPE}\r\nContent-Length: ${body.length}\r\n\r\n`,
      );
      const answered = once(socket, "data");
      for (const character of body) {
        await new Promise((resolve) => setTimeout(resolve, 30));
        socket.write(character);
      }
      assert.match(String((await answered)[0]), /^HTTP\/1\.1 200 /);
      socket.destroy();
    });
  });

  describe("that are not whole in time end in 408, and the connection with them", () => {
    const heads: [string, string][] = [
      ["JSON", `POST /json HTTP/1.1\r\nContent-Type: ${JSON_TYPE}\r\nContent-Length: 1000`],
      ["a form", `POST /form HTTP/1.1\r\nContent-Type: ${FORM_TYPE}\r\nContent-Length: 1000`],
      [
        "chunks of JSON",
        `POST /json HTTP/1.1\r\nContent-Type: ${JSON_TYPE}\r\nTransfer-Encoding: chunked`,
      ],
      // Its first chunk has a size that never ends.
      ["one that is not wanted", "POST /bare HTTP/1.1\r\nTransfer-Encoding: chunked"],
    ];
    for (const [promise, head] of heads) {
      test(promise, async (t) => {
        const server = await startServer(t, routes, { bodyTimeoutMs: 500 });
        const socket = connect(server.port, "127.0.0.1");
        socket.on("error", () => {});
        const isRefused = head.includes("/bare");
        const started = performance.now();
        socket.write(`${head}\r\nHost: here\r\n\r\n`);
        const drip = head.includes("chunked") && !isRefused ? "1\r\n \r\n" : " ";
        const timer = setInterval(() => socket.write(isRefused ? "0" : drip), 100);
        t.after(() => clearInterval(timer));
        let all = "";
        socket.on("data", (chunk) => {
          all += chunk;
        });
        await within(once(socket, "close"), 10_000, "The connection did not end");
        const took = performance.now() - started;
        assert.match(all, /^HTTP\/1\.1 408 [\s\S]*connection: close[\s\S]*did not arrive in time/i);
        assert.ok(took >= 490 && took < 5_000, `closed after ${took} ms`);
      });
    }
  });

  describe("a form", () => {
    test("is read, with the fields that the schema knows", async () => {
      const body = "grant_type=password&username=a%40b.c&password=p%2Bq+r%D8%B3&scope=&client_id=";
      const { got } = await post("/form", body, `${FORM_TYPE};charset=utf-8`);
      assert.deepEqual(got, { username: "a@b.c", password: "p+q rس" });
    });

    test("with a field given twice is a 422", async () => {
      const answer = await post("/form", "username=a&username=b&password=c&x=1&x=2", FORM_TYPE);
      assert.deepEqual(answer.detail, [
        issue("duplicate", ["body", "username"], "Given more than once"),
      ]);
    });

    test("has no fields but those sent", async () => {
      const answer = await post("/form", "__proto__=1&toString=1", FORM_TYPE);
      assert.deepEqual(Array.isArray(answer.detail) && answer.detail.map(({ loc }) => loc), [
        ["body", "username"],
        ["body", "password"],
      ]);
    });

    test("as JSON is a 415, and too long a 413", async () => {
      assert.equal((await post("/form", "{}", JSON_TYPE)).status, 415);
      assert.equal((await post("/form", `username=${"a".repeat(70_000)}`, FORM_TYPE)).status, 413);
    });
  });

  describe("query and path", () => {
    const ask = async (path: string) => {
      const answer = await fetch(server.url + path);
      return { status: answer.status, ...((await answer.json()) as Answer) };
    };

    test("a query's unknown parameters are ignored, one given twice is a 422", async () => {
      assert.deepEqual(await ask("/query?a=x+y%20z&b=1"), { status: 200, got: { a: "x y z" } });
      assert.deepEqual(await ask("/query"), { status: 200, got: {} });
      const twice = (name: string) => ({
        status: 422,
        detail: [issue("duplicate", ["query", name], "Given more than once")],
      });
      assert.deepEqual(await ask("/query?a=1&a=1"), twice("a"));
      assert.deepEqual(await ask("/query?__proto__=1&__proto__=2"), twice("__proto__"));
    });

    test("a path's parameters are checked, with the schema's own message", async () => {
      assert.deepEqual(await ask("/path/7"), { status: 200, got: { id: "7" } });
      assert.deepEqual(await ask("/path/x"), {
        status: 422,
        detail: [issue("regex", ["path", "id"], "A number")],
      });
    });
  });

  describe("where no body is allowed", () => {
    const head = "POST /bare HTTP/1.1\r\nHost: here\r\nConnection: close\r\n";
    const table: [string, string, number][] = [
      ["none passes", "\r\n", 200],
      ["length 0 passes", "Content-Length: 0\r\n\r\n", 200],
      ["an empty chunked one passes", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200],
      ["one byte is refused", "Content-Length: 1\r\n\r\nx", 400],
      ["one that does not even come is refused", "Content-Length: 1\r\n\r\n", 400],
      ["one chunk is refused", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", 400],
    ];
    for (const [promise, rest, status] of table) {
      test(promise, async () =>
        assert.equal((await exchangeRaw(server.port, head + rest)).status, status),
      );
    }
  });
});
