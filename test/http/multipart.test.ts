import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { AppError } from "../../src/errors.ts";
import { collect } from "../../src/http/incoming.ts";
import { readParts } from "../../src/http/multipart-parser.ts";
import { exchangeRaw } from "./harness.ts";
import {
  type Answer,
  filePart,
  first,
  form,
  LIMIT,
  part,
  send,
  sha256,
  TYPE,
  textPart,
  uploads,
} from "./uploads.ts";

describe("a form with a file", () => {
  test("is read from a standard client, fields before and after the file", async (t) => {
    const server = await uploads(t);
    const bytes = new Uint8Array(300_000).map((_, index) => index % 251);
    const data = new FormData();
    data.set("full_path", "عقود/2026");
    data.set("file", new File([bytes], 'مستند "x".pdf', { type: "application/pdf" }));
    data.set("description", "two\r\nlines");
    assert.deepEqual(await send(server, data), {
      status: 200,
      fields: { full_path: "عقود/2026", description: "two\r\nlines" },
      file: {
        name: 'مستند "x".pdf',
        contentType: "application/pdf",
        before: { full_path: "عقود/2026" },
        size: bytes.length,
        sha256: sha256(bytes),
      },
    });
  });

  test("passes at exactly the limit, and one byte more is a 413, announced or not", async (t) => {
    const server = await uploads(t);
    const full = await send(server, form(filePart(Buffer.alloc(LIMIT))), TYPE);
    assert.equal(full.file?.size, LIMIT);
    const over = form(filePart(Buffer.alloc(LIMIT + 1)));
    assert.deepEqual(await send(server, over, TYPE), { status: 413, detail: "File too large" });
    const stream = { body: new Blob([over]).stream(), duplex: "half" } as RequestInit;
    const answer = await fetch(server.url, { method: "POST", headers: TYPE, ...stream });
    assert.equal(answer.status, 413);
    assert.ok(server.ends[1] instanceof AppError);
  });

  test("is refused by its announced length before a byte of it came", async (t) => {
    const server = await uploads(t);
    const answer = await exchangeRaw(
      server.port,
      `POST / HTTP/1.1\r\nHost: here\r\nExpect: 100-continue\r\nContent-Type: ${TYPE["Content-Type"]}\r\nContent-Length: ${LIMIT + 65_537}\r\n\r\n`,
    );
    assert.equal(answer.status, 413);
    assert.deepEqual(server.ends, []);
  });

  test("is bounded as a whole, also by what is no part of it", async (t) => {
    const server = await uploads(t);
    const chunked = (body: Buffer) =>
      fetch(server.url, {
        method: "POST",
        headers: TYPE,
        body: new Blob([body]).stream(),
        duplex: "half",
      } as RequestInit);
    assert.equal(
      (await chunked(Buffer.concat([Buffer.alloc(LIMIT + 70_000, "x"), form(filePart())]))).status,
      413,
    );
    assert.equal(
      (await chunked(Buffer.concat([form(filePart()), Buffer.alloc(LIMIT + 70_000, "x")]))).status,
      413,
    );
    assert.equal(
      (
        await chunked(
          Buffer.concat([Buffer.from("preamble\r\n"), form(filePart()), Buffer.from("epilogue")]),
        )
      ).status,
      200,
    );
  });

  const refused: [string, Buffer, number, unknown][] = [
    ["no part at all", form(), 422, ["missing", "body", "file"]],
    ["no file", form(textPart("description", "a")), 422, ["missing", "body", "file"]],
    ["two files", form(filePart(), filePart()), 422, ["multiple_files", "body", "file"]],
    [
      "a text field twice",
      form(textPart("description", "a"), textPart("description", "b"), filePart()),
      422,
      ["duplicate", "body", "description"],
    ],
    [
      "an unknown field",
      form(textPart("other", "a"), filePart()),
      422,
      ["extra_forbidden", "body", "other"],
    ],
    [
      "an unknown field after the file",
      form(filePart(), textPart("__proto__", "a")),
      422,
      ["extra_forbidden", "body", "__proto__"],
    ],
    [
      "a file under another name",
      form(filePart("a", 'name="other"; filename="a"')),
      422,
      ["extra_forbidden", "body", "other"],
    ],
    [
      "a file in a text field",
      form(filePart("a", 'name="description"; filename="a"')),
      422,
      ["text_expected", "body", "description"],
    ],
    [
      "text instead of the file",
      form(textPart("file", "abc")),
      422,
      ["file_expected", "body", "file"],
    ],
    [
      "a text field that is no UTF-8",
      form(textPart("description", Buffer.from([0xff])), filePart()),
      422,
      ["text_encoding", "body", "description"],
    ],
    [
      "a text field beyond 16 KiB",
      form(textPart("description", "a".repeat(16_385)), filePart()),
      422,
      ["too_long", "body", "description"],
    ],
    [
      "a part without a name",
      form(part("Content-Disposition: form-data", "a"), filePart()),
      422,
      ["multipart_invalid", "body"],
    ],
    ["a part without headers", form(part("", "a"), filePart()), 422, ["multipart_invalid", "body"]],
    [
      "a part without disposition",
      form(part("Content-Type: a/b", "a"), filePart()),
      422,
      ["multipart_invalid", "body"],
    ],
    [
      "an attachment",
      form(part('Content-Disposition: attachment; name="file"; filename="a"', "a")),
      422,
      ["multipart_invalid", "body"],
    ],
    [
      "two names in one part",
      form(filePart("a", 'name="file"; name="file"; filename="a"')),
      422,
      ["multipart_invalid", "body"],
    ],
    [
      "a quote that is not closed",
      form(filePart("a", 'name="file"; filename="a')),
      422,
      ["multipart_invalid", "body"],
    ],
    [
      "a name that is no UTF-8",
      form(
        part(
          Buffer.from('Content-Disposition: form-data; name="file"; filename="\xff"', "latin1"),
          "a",
        ),
      ),
      422,
      ["multipart_invalid", "body"],
    ],
    [
      "base64",
      form(filePart("YQ==", undefined, "\r\nContent-Transfer-Encoding: base64")),
      422,
      ["multipart_invalid", "body"],
    ],
    [
      "too many parts",
      form(...Array.from({ length: 50 }, () => part("A: b", ""))),
      422,
      ["multipart_invalid", "body"],
    ],
    [
      "too many parts after the file",
      form(filePart(), ...Array.from({ length: 50 }, () => part("A: b", ""))),
      422,
      ["multipart_invalid", "body"],
    ],
    [
      "headers that are cut off",
      Buffer.from('--b\r\nContent-Disposition: form-data; name="fi\r\n--b--\r\n'),
      422,
      ["multipart_invalid", "body"],
    ],
    ["no final boundary", filePart(), 422, ["multipart_invalid", "body"]],
    [
      "an end within the file",
      Buffer.from('--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc'),
      422,
      ["multipart_invalid", "body"],
    ],
    [
      "a boundary that goes on",
      Buffer.from('--bb\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n--b--'),
      422,
      ["multipart_invalid", "body"],
    ],
    [
      "a header twice",
      form(filePart("a", undefined, "\r\nContent-Type: a/b\r\ncontent-type: a/b")),
      422,
      ["multipart_invalid", "body"],
    ],
    [
      "headers beyond 16 KiB",
      form(filePart("a", undefined, `\r\nA: ${"a".repeat(16_384)}`)),
      422,
      ["multipart_invalid", "body"],
    ],
    ["another boundary", Buffer.from("--c\r\n\r\n--c--\r\n"), 422, ["multipart_invalid", "body"]],
    ["nothing", Buffer.alloc(0), 422, ["multipart_invalid", "body"]],
  ];
  for (const [promise, body, status, expected] of refused) {
    test(`is refused with ${promise}: ${status}`, async (t) => {
      const server = await uploads(t);
      const answer = await send(server, body, TYPE);
      assert.equal(answer.status, status, JSON.stringify(answer));
      if (expected) assert.deepEqual(first(answer), expected);
      assert.equal(server.ends.includes("whole"), false, "nobody keeps the file of a bad form");
      assert.equal(server.ends.length, server.opened(), "no consumer is left waiting");
    });
  }

  for (const type of [
    "application/json",
    "multipart/mixed; boundary=b",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    `multipart/form-data; boundary=${"b".repeat(71)}`,
    'multipart/form-data; boundary="b',
    "multipart/form-data; boundary=b; boundary=c",
  ]) {
    test(`is refused as ${type}: 415`, async (t) => {
      const server = await uploads(t);
      assert.equal((await send(server, form(filePart()), { "Content-Type": type })).status, 415);
    });
  }

  const names: [disposition: string, name: string][] = [
    ['name="file"; filename="a b.txt"', "a b.txt"],
    ['name="file"; filename=""', ""],
    ["name=file; filename=a.txt", "a.txt"],
    ["name=file; filename=a b.txt ; x=y", "a b.txt"],
    ['FILENAME="a.txt"; NAME="file"', "a.txt"],
    ['name="file"; filename="C:\\Users\\n.txt"', "C:\\Users\\n.txt"],
    ['name="file"; filename="../../etc/passwd"', "../../etc/passwd"],
    ['name="file"; filename="a\\"b\\\\c"', 'a"b\\c'],
    ['name="file"; filename="a%22b%2F%20.txt"', 'a"b%2F%20.txt'],
    ['name="file"; filename="a;b=c.txt"', "a;b=c.txt"],
    ['name="file"; filename="مستند.pdf"', "مستند.pdf"],
    [`name="file"; filename="x"; filename*=UTF-8''%D9%85%20%25.pdf`, "م %.pdf"],
    [`name="file"; filename*=utf-8'ar'%D9%85`, "م"],
    [`name="file"; filename="x"; filename*=UTF-8''%ff`, "x"],
  ];
  for (const [disposition, name] of names) {
    test(`is named ${JSON.stringify(name)} by ${disposition}`, async (t) => {
      const server = await uploads(t);
      assert.equal((await send(server, form(filePart("abc", disposition)), TYPE)).file?.name, name);
    });
  }

  const types: [string | undefined, string][] = [
    [undefined, "application/octet-stream"],
    ["application/pdf", "application/pdf"],
    ["text/plain; charset=utf-8", "text/plain; charset=utf-8"],
    ["nonsense", "application/octet-stream"],
    ["text/html, x", "application/octet-stream"],
    [`a/${"b".repeat(99)}`, "application/octet-stream"],
    ["text/é", "application/octet-stream"],
  ];
  for (const [type, expected] of types) {
    test(`of the type ${type} is ${expected}`, async (t) => {
      const server = await uploads(t);
      const more = type === undefined ? "" : `\r\nContent-Type: ${type}`;
      assert.equal(
        (await send(server, form(filePart("abc", undefined, more)), TYPE)).file?.contentType,
        expected,
      );
    });
  }

  test("may hold what looks almost like a boundary", async (t) => {
    const server = await uploads(t);
    const content = "\r\n--\r\n-b\r\n--a\r\n--\n--b--\r\r\n-\r\n";
    const answer = await send(
      server,
      form(filePart(content), textPart("description", "\r\n")),
      TYPE,
    );
    assert.equal(answer.file?.sha256, sha256(content));
    assert.equal(answer.fields?.description, "\r\n");
  });

  test("may have padded delimiters", async (t) => {
    const server = await uploads(t);
    const answer = await send(
      server,
      Buffer.from(
        '--b \t\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n--b-- \t\r\n',
      ),
      TYPE,
    );
    assert.deepEqual([answer.file?.name, answer.file?.size], ["a", 3]);
  });

  test("is read the same however the network cuts it", async (t) => {
    const server = await uploads(t);
    const content = "x\r\n--a\r\n--";
    const body = form(textPart("description", "d"), filePart(content), textPart("full_path", ""));
    const head = `POST / HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Type: ${TYPE["Content-Type"]}\r\nTransfer-Encoding: chunked\r\n\r\n`;
    for (const size of [1, 2, 3, 7]) {
      let chunks = "";
      for (let at = 0; at < body.length; at += size) {
        const piece = body.subarray(at, at + size);
        chunks += `${piece.length.toString(16)}\r\n${piece.toString("latin1")}\r\n`;
      }
      const answer = await exchangeRaw(server.port, `${head}${chunks}0\r\n\r\n`);
      assert.equal(answer.status, 200, answer.all);
      const { fields, file } = JSON.parse(answer.body) as Answer;
      assert.deepEqual(
        [fields, file?.sha256],
        [{ description: "d", full_path: "" }, sha256(content)],
      );
    }
  });

  test("is cut at its delimiters, whatever the bytes and wherever the pieces end", async () => {
    const piece = fc.oneof(
      fc.constantFrom("\r", "\n", "-", "--", "b", "\r\n--", "\r\n--\r\n--b", "\r\r\n--"),
      fc.string({ unit: "binary", maxLength: 3 }),
    );
    const content = fc
      .array(piece, { maxLength: 12 })
      .map((pieces) => Buffer.from(pieces.join(""), "latin1"))
      .filter((bytes) => !`\r\n${bytes.toString("latin1")}`.includes("\r\n--bound"));
    const cuts = fc.infiniteStream(fc.integer({ min: 1, max: 9 }));
    await fc.assert(
      fc.asyncProperty(content, content, cuts, async (first, second, sizes) => {
        const named = (name: string) => `Content-Disposition: form-data; name="${name}"\r\n\r\n`;
        const body = Buffer.concat(
          [`--bound\r\n${named("a")}`, first, `\r\n--bound\r\n${named("b")}`, second].map((part) =>
            Buffer.from(part),
          ),
        );
        const pieces = inPieces(Buffer.concat([body, Buffer.from("\r\n--bound--")]), sizes);
        const read: [string, Buffer][] = [];
        for await (const { name, content } of readParts(pieces, "bound"))
          read.push([name, await collect(content)]);
        assert.deepEqual(read, [
          ["a", first],
          ["b", second],
        ]);
      }),
      { numRuns: 500 },
    );
  });
});

async function* inPieces(bytes: Buffer, sizes: Iterator<number>): AsyncGenerator<Buffer> {
  let at = 0;
  while (at < bytes.length) {
    const end = at + (sizes.next().value ?? 1);
    yield bytes.subarray(at, end);
    at = end;
  }
}
