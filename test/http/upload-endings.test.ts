import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { Writable } from "node:stream";
import { finished, pipeline } from "node:stream/promises";
import { describe, test } from "node:test";
import { AppError } from "../../src/errors.ts";
import { memoryInUse } from "../support/memory.ts";
import { exchangeRaw } from "./harness.ts";
import {
  type Answer,
  consume,
  filePart,
  form,
  LIMIT,
  MEGABYTE,
  send,
  TYPE,
  textPart,
  uploads,
} from "./uploads.ts";

describe("whatever ends an upload", () => {
  const head = (length: number) =>
    `POST / HTTP/1.1\r\nHost: here\r\nContent-Type: ${TYPE["Content-Type"]}\r\nContent-Length: ${length}\r\n\r\n`;

  test("a refusal by the consumer stops the reading at once and is the answer", async (t) => {
    const server = await uploads(t, {
      maxFileBytes: 1000 * MEGABYTE,
      onFile: async () => {
        throw new AppError("conflict", "Taken");
      },
    });
    const answer = await exchangeRaw(
      server.port,
      Buffer.concat([Buffer.from(head(900_000_000)), filePart(Buffer.alloc(100_000))]),
    );
    assert.deepEqual([answer.status, answer.body], [409, '{"detail":"Taken"}']);
  });

  test("a consumer that fails with the file, as a full disk does, says why in its own words", async (t) => {
    const server = await uploads(t, {
      maxFileBytes: 1000 * MEGABYTE,
      onFile: async ({ stream }) => {
        const disk = new Writable({
          write: (_chunk, _encoding, done) => done(new Error("ENOSPC")),
        });
        await pipeline(stream, disk).catch((cause) => {
          throw new AppError("conflict", "The disk is full", { cause });
        });
        throw new Error("It was not");
      },
    });
    const begun = Buffer.concat([Buffer.from(head(400_000_000)), filePart(Buffer.alloc(300_000))]);
    const { status, body } = await exchangeRaw(server.port, begun);
    assert.deepEqual([status, body], [409, '{"detail":"The disk is full"}']);
    const whole = await send(server, form(filePart()), TYPE);
    assert.deepEqual(whole, { status: 409, detail: "The disk is full" });
  });

  test("a consumer that leaves the file unread is at fault, and the form fails", async (t) => {
    const server = await uploads(t, {
      onFile: async ({ name, contentType }, before) => {
        return { name, contentType, before: { ...before }, size: 0, sha256: "" };
      },
    });
    assert.equal((await send(server, form(filePart(Buffer.alloc(LIMIT))), TYPE)).status, 500);
    const line = await server.logged(({ message }) => message === "request");
    assert.match(JSON.stringify(line.error), /not read to its end/);
  });

  test("fields that the caller refuses fail the file too", async (t) => {
    const server = await uploads(t, {
      parseFields: (fields) => {
        if (fields.description === "bad") throw new AppError("validation_failed", []);
        return fields;
      },
    });
    assert.equal(
      (await send(server, form(filePart(), textPart("description", "bad")), TYPE)).status,
      422,
    );
    assert.equal(
      (await send(server, form(filePart(), textPart("description", "good")), TYPE)).status,
      200,
    );
    assert.ok(server.ends[0] instanceof AppError);
    assert.equal(server.ends[1], "whole");
  });

  test("a client that goes away in the middle of the file leaves a failed stream, and an aborted log line", async (t) => {
    for (const leave of ["resetAndDestroy", "end"] as const) {
      const server = await uploads(t);
      const socket = connect(server.port, "127.0.0.1");
      socket.on("error", () => {});
      socket.write(
        Buffer.concat([Buffer.from(head(500_000)), filePart(Buffer.alloc(200_000))]),
        () => socket[leave](),
      );
      const line = await server.logged(({ message }) => message === "request");
      assert.equal(line.aborted, true);
      assert.equal(line.level, "info");
      assert.equal(server.ends.length, 1);
      assert.equal((server.ends[0] as Error).name, "ClientGone");
      socket.destroy();
    }
  });

  test("a body that stalls is a 408, after the consumer has let go", async (t) => {
    const server = await uploads(t, {}, 100);
    const answer = await exchangeRaw(
      server.port,
      Buffer.concat([Buffer.from(head(500_000)), filePart(Buffer.alloc(2000))]),
    );
    assert.equal(answer.status, 408);
    assert.equal(server.ends.length, 1);
    assert.equal((server.ends[0] as AppError).code, "request_timeout");
  });

  test("a slow but steady upload is read, however long it takes in all", async (t) => {
    const server = await uploads(t, {}, 5_000);
    const body = form(filePart("abcdefghij"));
    const socket = connect(server.port, "127.0.0.1");
    socket.write(head(body.length));
    const answered = once(socket, "data");
    for (let at = 0; at < body.length; at += 5) {
      socket.write(body.subarray(at, at + 5));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.match(String((await answered)[0]), /^HTTP\/1\.1 200 /);
    socket.destroy();
  });

  test("a consumer slower than the idle time is no stall", async (t) => {
    const server = await uploads(
      t,
      {
        onFile: async ({ name, contentType, stream }, before) => {
          await new Promise((resolve) => setTimeout(resolve, 400));
          return { name, contentType, before: { ...before }, ...(await consume(stream)) };
        },
      },
      100,
    );
    assert.equal((await send(server, form(filePart(Buffer.alloc(LIMIT))), TYPE)).status, 200);
  });

  test("a client that is still sending reads its 413", async (t) => {
    const server = await uploads(t);
    const answer = await send(server, form(filePart(Buffer.alloc(LIMIT + 6 * MEGABYTE))), TYPE);
    assert.deepEqual(answer, { status: 413, detail: "File too large" });
    const chunked = await fetch(server.url, {
      method: "POST",
      headers: TYPE,
      body: new Blob([form(filePart(Buffer.alloc(LIMIT + 6 * MEGABYTE)))]).stream(),
      duplex: "half",
    } as RequestInit);
    assert.equal(chunked.status, 413);
  });

  test("the answer waits until the consumer has cleaned up", async (t) => {
    const order: string[] = [];
    const server = await uploads(t, {
      onFile: async ({ stream }) => {
        await finished(stream.resume()).catch(() => {});
        await new Promise((resolve) => setTimeout(resolve, 50));
        order.push("cleaned up");
        throw new Error("late");
      },
    });
    const answer = await send(server, form(filePart(), textPart("other", "")), TYPE);
    order.push("answered");
    assert.equal(answer.status, 422);
    assert.deepEqual(order, ["cleaned up", "answered"]);
  });

  test("ten uploads at once into a slow consumer stay in flat memory", async (t) => {
    const size = 20 * MEGABYTE;
    let peak = 0;
    const start = memoryInUse().arrayBuffers;
    let chunks = 0;
    const server = await uploads(t, {
      maxFileBytes: size,
      onFile: async ({ name, contentType, stream }, before) => {
        let received = 0;
        for await (const chunk of stream) {
          received += chunk.length;
          chunks += 1;
          if (chunks % 100 === 0) peak = Math.max(peak, memoryInUse().arrayBuffers - start);
          await new Promise((resolve) => setImmediate(resolve));
        }
        return { name, contentType, before: { ...before }, size: received, sha256: "" };
      },
    });
    const block = Buffer.alloc(65_536);
    const answers = await Promise.all(
      Array.from({ length: 10 }, () =>
        fetch(server.url, {
          method: "POST",
          headers: TYPE,
          duplex: "half",
          body: ReadableStream.from(
            (async function* () {
              yield Buffer.from(
                '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n',
              );
              for (let sent = 0; sent < size; sent += block.length) yield block;
              yield Buffer.from("\r\n--b--\r\n");
            })(),
          ),
        } as unknown as RequestInit).then(async (answer) => (await answer.json()) as Answer),
      ),
    );
    assert.deepEqual(
      answers.map(({ file }) => file?.size),
      Array(10).fill(size),
    );
    assert.ok(peak < 100 * MEGABYTE, `${peak} bytes beside 200 MB received`);
  });
});
