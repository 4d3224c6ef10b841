import assert from "node:assert/strict";
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { connect, type Socket } from "node:net";
import { Readable } from "node:stream";
import { describe, test } from "node:test";
import * as v from "valibot";
import { AppError } from "../../src/errors.ts";
import { readJson, refuseBody } from "../../src/http/body.ts";
import { json, noContent } from "../../src/http/replies.ts";
import type { Route } from "../../src/http/request.ts";
import { type Harness, startServer } from "./harness.ts";

const MEGABYTE = 1024 * 1024;
const routes: Route[] = [
  {
    method: "POST",
    path: "/json",
    level: "public",
    handler: async (request) => json(await readJson(request, v.any())),
  },
  { method: "POST", path: "/secret", level: "admin", handler: () => json("reached") },
  { method: "POST", path: "/ignored", level: "public", handler: () => json("ignored") },
  {
    method: "POST",
    path: "/stream",
    level: "public",
    handler: () => ({
      status: 200,
      headers: { "Content-Length": String(20 * MEGABYTE) },
      body: Readable.from(Array.from({ length: 20 }, () => Buffer.alloc(MEGABYTE))),
    }),
  },
  { method: "DELETE", path: "/ignored", level: "public", handler: () => noContent() },
  {
    method: "PATCH",
    path: "/bare",
    level: "public",
    handler: async (request) => {
      await refuseBody(request, "No body");
      return noContent();
    },
  },
];
const options = {
  authorize: async (level: string) => {
    if (level === "admin") throw new AppError("not_authenticated", "Not authenticated");
  },
};

/** A plain client that writes the whole body first and only then looks at the answer. */
function writeAllThenRead(
  server: Harness,
  method: string,
  path: string,
  headers: object,
  bytes: number,
) {
  return new Promise<{ status: number | undefined; body: string; connection: string | undefined }>(
    (resolve, reject) => {
      const request = httpRequest(
        {
          port: server.port,
          host: "127.0.0.1",
          method,
          path,
          agent: false,
          headers: { ...headers },
        },
        async (response) => {
          if (!request.writableFinished) await once(request, "finish");
          let body = "";
          for await (const chunk of response) body += chunk;
          resolve({ status: response.statusCode, body, connection: response.headers.connection });
        },
      );
      request.on("error", reject);
      const block = Buffer.alloc(256 * 1024, 32);
      const next = (left: number) => {
        if (left <= 0) request.end();
        else request.write(block.subarray(0, left), () => next(left - block.length));
      };
      next(bytes);
    },
  );
}

describe("an answer given before the body was read", () => {
  const size = 8 * MEGABYTE;
  const length = { "Content-Length": size };
  const type = { "Content-Type": "application/json" };
  const table: [string, string, string, object, number, number][] = [
    ["413 by the announced length", "POST", "/json", { ...type, ...length }, size, 413],
    ["413 while reading a chunked body", "POST", "/json", type, size, 413],
    ["415", "POST", "/json", { "Content-Type": "text/plain", ...length }, size, 415],
    ["401", "POST", "/secret", length, size, 401],
    ["404", "POST", "/nowhere", length, size, 404],
    ["405", "PUT", "/json", length, size, 405],
    ["400 for a body that is not wanted", "PATCH", "/bare", length, size, 400],
    ["200 of a handler that does not care", "POST", "/ignored", length, size, 200],
    ["200 with a long body of its own", "POST", "/stream", length, size, 200],
    ["204 of a handler that does not care", "DELETE", "/ignored", length, size, 204],
  ];
  for (const [promise, method, path, headers, bytes, status] of table) {
    test(`reaches a client that is still sending: ${promise}`, async (t) => {
      const server = await startServer(t, routes, options);
      const answer = await writeAllThenRead(server, method, path, headers, bytes);
      assert.equal(answer.status, status);
      assert.equal(answer.connection, "close");
      if (status >= 400) assert.equal(typeof JSON.parse(answer.body).detail, "string");
    });
  }

  test("is sent at once, not after the body", async (t) => {
    const server = await startServer(t, routes, options);
    const socket = connect(server.port, "127.0.0.1");
    socket.write("POST /secret HTTP/1.1\r\nHost: here\r\nContent-Length: 100000000\r\n\r\nabc");
    const [chunk] = await once(socket, "data");
    assert.match(String(chunk), /^HTTP\/1\.1 401 /);
    // The server's side ends soon, so that a client who reads to the end is not kept waiting.
    await once(socket.resume(), "end");
    socket.destroy();
  });

  test("reaches a client that wants the connection closed and sends its short body late", async (t) => {
    const server = await startServer(t, routes, options);
    const socket = connect(server.port, "127.0.0.1");
    const failed = once(socket, "error").then(([error]) => assert.fail(error));
    socket.write(
      "POST /secret HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: 5\r\n\r\n",
    );
    await once(socket, "readable");
    socket.write("abcde");
    const ended = once(socket, "end");
    assert.match(String(socket.read()), /^HTTP\/1\.1 401 /);
    await Promise.race([ended, failed]);
    socket.destroy();
  });

  test("a short unread body leaves the connection usable", async (t) => {
    const server = await startServer(t, routes, options);
    const socket = connect(server.port, "127.0.0.1");
    const post = "POST /secret HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\nabcde";
    socket.write(post + post);
    let all = "";
    for await (const chunk of socket) {
      all += chunk;
      if (all.match(/HTTP\/1\.1 401/g)?.length === 2) break;
    }
    assert.doesNotMatch(all, /connection: close/i);
  });

  test("no further request is looked at on a connection that is about to end", async (t) => {
    const server = await startServer(t, routes, options);
    const socket = connect(server.port, "127.0.0.1");
    let all = "";
    socket.on("data", (chunk) => {
      all += chunk;
    });
    const body = "x".repeat(100_000);
    socket.write(`POST /secret HTTP/1.1\r\nHost: here\r\nContent-Length: ${body.length}\r\n\r\n`);
    await once(socket, "data");
    socket.on("error", () => {});
    socket.write(`${body}POST /ignored HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n`);
    await once(socket, "close");
    assert.equal(all.match(/HTTP\/1\.1 /g)?.length, 1);
    assert.equal(server.lines.filter(({ message }) => message === "request").length, 1);
  });
});

describe("Expect: 100-continue", () => {
  /** Sends the head, then the body if 100 comes; everything that the server said. */
  async function ask(server: Harness, head: string, body: string): Promise<string> {
    const socket: Socket = connect(server.port, "127.0.0.1");
    let all = "";
    socket.write(`${head}\r\nHost: here\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n`);
    let sent = false;
    for await (const chunk of socket) {
      all += chunk;
      if (!sent && all.startsWith("HTTP/1.1 100 Continue\r\n\r\n")) {
        sent = true;
        socket.write(body);
      }
    }
    return all;
  }
  const type = "Content-Type: application/json";

  test("the body is asked for when it is about to be read", async (t) => {
    const server = await startServer(t, routes, options);
    const all = await ask(server, `POST /json HTTP/1.1\r\n${type}\r\nContent-Length: 2`, "{}");
    assert.match(all, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\n\{\}$/);
  });

  const refused: [string, number][] = [
    ["POST /secret HTTP/1.1\r\nContent-Length: 2", 401],
    [`POST /json HTTP/1.1\r\n${type}\r\nContent-Length: 99999999`, 413],
    ["POST /json HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 2", 415],
    ["POST /nowhere HTTP/1.1\r\nContent-Length: 2", 404],
    ["POST /ignored HTTP/1.1\r\nContent-Length: 2", 200],
  ];
  for (const [head, status] of refused) {
    test(`no body is asked for when the answer is ${status}`, async (t) => {
      const server = await startServer(t, routes, options);
      const all = await ask(server, head, "[]");
      assert.match(all, new RegExp(`^HTTP/1\\.1 ${status} `));
      assert.match(all, /\r\nConnection: close\r\n/i);
      assert.doesNotMatch(all, /100 Continue/);
    });
  }

  test("any other expectation is ignored", async (t) => {
    const server = await startServer(t, routes, options);
    const answer = await new Promise<number | undefined>((resolve, reject) => {
      httpRequest({
        port: server.port,
        method: "POST",
        path: "/ignored",
        agent: false,
        headers: { Expect: "wonders" },
      })
        .on("response", (response) => resolve(response.resume().statusCode))
        .on("error", reject)
        .end();
    });
    assert.equal(answer, 200);
  });
});
