import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import fc from "fast-check";
import { readMultipart } from "../../src/http/multipart.ts";
import { json } from "../../src/http/replies.ts";
import { until } from "../support/wait.ts";
import { exchangeRaw, type Harness, type parseAnswer, startServer } from "./harness.ts";

const LIMIT = 2000;

/** Fragments from which forms, and what is almost one, are made. */
const fragment = fc.oneof(
  fc.constantFrom(
    "--b",
    "--b--",
    "\r\n",
    "\r\n\r\n",
    "--",
    "-",
    "b",
    "\r",
    "\n",
    ":",
    ";",
    '"',
    "\\",
    "=",
    " ",
    "\0",
  ),
  fc.constantFrom(
    "\r\n--b\r\n",
    '\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc',
    '\r\n--b\r\nContent-Disposition: form-data; name="description"\r\n\r\nabc',
    "\r\n--b--\r\n",
    "Content-Disposition: form-data",
    "Content-Disposition: ; name=",
    "; name=file; filename*=utf-8''%ff",
    "Content-Type: ",
    "__proto__: x\r\n",
    "constructor: x\r\n",
    "Content-Disposition:\r\n ",
    "x".repeat(3000),
    "h: x\r\n".repeat(200),
  ),
  fc.string({ unit: "binary", maxLength: 20 }),
);
const body = fc.array(fragment, { maxLength: 15 }).map((parts) => parts.join(""));

describe("malformed forms", () => {
  let server: Harness;
  let stop: () => Promise<void>;
  let open = 0;
  before(async () => {
    server = await startServer({ after: (close) => (stop = close) }, [
      {
        method: "POST",
        path: "/",
        level: "public",
        handler: async (request) => {
          const { fields, file } = await readMultipart(request, {
            fileField: "file",
            textFields: ["description"],
            maxFileBytes: LIMIT,
            tooLarge: "Too large",
            parseFields: (all) => all,
            onFile: async ({ name, stream }) => {
              open += 1;
              try {
                for await (const _chunk of stream);
                return name;
              } finally {
                open -= 1;
              }
            },
          });
          return json({ fields, name: file });
        },
      },
    ]);
  });
  after(() => stop());

  const head = (type: string, coding: string) =>
    `POST / HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Type: ${type}\r\n${coding}\r\n\r\n`;
  const TYPE = "multipart/form-data; boundary=b";

  async function upload(bytes: Buffer): Promise<ReturnType<typeof parseAnswer>> {
    const start = Buffer.from(head(TYPE, `Content-Length: ${bytes.length}`));
    return exchangeRaw(server.port, Buffer.concat([start, bytes]));
  }

  test("always get an answer, and it is never a 500", async () => {
    await fc.assert(
      fc.asyncProperty(body, async (text) => {
        const answer = await upload(Buffer.from(text));
        assert.ok([200, 413, 422].includes(answer.status), answer.all);
        if (answer.status === 200) assert.match(text, /--b--/);
      }),
      { numRuns: 500 },
    );
    assert.equal(open, 0);
  });

  test("a good form with some bytes changed, cut out or doubled is answered", async () => {
    const good = Buffer.from(
      '--b\r\nContent-Disposition: form-data; name="description"\r\n\r\nabc\r\n' +
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\ncontent\r\n--b--\r\n',
    );
    const position = fc.nat({ max: good.length });
    const edit = fc.tuple(position, fc.nat({ max: 9 }), fc.uint8Array({ maxLength: 4 }));
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 4 }), async (edits) => {
        let bytes = good;
        for (const [at, removed, added] of edits) {
          bytes = Buffer.concat([bytes.subarray(0, at), added, bytes.subarray(at + removed)]);
        }
        const answer = await upload(bytes);
        assert.ok([200, 413, 422].includes(answer.status), answer.all);
      }),
      { numRuns: 300 },
    );
    assert.equal(open, 0);
  });

  test("cut anywhere by a client that leaves, nothing stays open", async () => {
    await fc.assert(
      fc.asyncProperty(body, fc.boolean(), async (text, abrupt) => {
        await new Promise<void>((resolve) => {
          const socket = connect(server.port, "127.0.0.1");
          socket.on("error", () => {});
          socket.on("close", () => resolve());
          socket.resume();
          const start = head(TYPE, `Content-Length: ${Buffer.byteLength(text) + 10}`);
          socket.write(start + text, () => (abrupt ? socket.resetAndDestroy() : socket.end()));
        });
      }),
      { numRuns: 100 },
    );
    await until(() => open === 0, "the connections to be closed");
    assert.equal((await upload(Buffer.from("--b--"))).status, 422);
  });

  test("any Content-Type is answered", async () => {
    const type = fc
      .array(
        fc.constantFrom(
          "multipart/form-data",
          ";",
          "boundary",
          "=",
          "b",
          '"',
          "\\",
          " ",
          ",",
          "*",
          "'",
          "%",
          "é",
        ),
      )
      .map((parts) => parts.join(""));
    await fc.assert(
      fc.asyncProperty(type, async (value) => {
        const answer = await exchangeRaw(server.port, `${head(value, "Content-Length: 5")}--b--`);
        assert.ok([415, 422].includes(answer.status), answer.all);
      }),
      { numRuns: 200 },
    );
  });

  test("a name survives as browsers send it", async () => {
    const name = fc.string({ unit: "grapheme" }).filter((text) => !/\\|%(22|0d|0a)/i.test(text));
    await fc.assert(
      fc.asyncProperty(name, async (sent) => {
        const escaped = sent.replaceAll('"', "%22").replaceAll("\r", "%0D").replaceAll("\n", "%0A");
        const answer = await upload(
          Buffer.from(
            `--b\r\nContent-Disposition: form-data; name="file"; filename="${escaped}"\r\n\r\nx\r\n--b--\r\n`,
          ),
        );
        assert.equal(answer.status, 200, answer.all);
        assert.equal(JSON.parse(Buffer.from(answer.body, "latin1").toString()).name, sent);
      }),
      { numRuns: 200, examples: [["\u2028"], ["\u2029"], ["\u0085"]] },
    );
  });

  test("no failure of any kind was an error of the server", () => {
    assert.deepEqual(
      server.lines.filter(({ level }) => level === "error"),
      [],
    );
  });
});
