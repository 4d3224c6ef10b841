import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ForeignKeyViolation, OutcomeUnknown, UniqueViolation } from "../../src/data/database.ts";
import { revokeSessions } from "../../src/data/sessions.ts";
import { createBlobFinder } from "../../src/domain/blobs.ts";
import { createDeletions } from "../../src/domain/deletions.ts";
import { unavailable } from "../../src/errors.ts";
import {
  apiSuite,
  type CallOptions,
  type Person,
  type Suite,
  type TestApp,
  type TestOptions,
  trailSealed,
} from "../support/app.ts";
import type { Answer, Part } from "../support/client.ts";
import { silent } from "../support/sqlserver.ts";
import { until } from "../support/wait.ts";
import { play, type Scenario, scenarios } from "./scenarios.ts";

const UPLOAD = "POST /api/v1/docs/upload";
const MEGABYTE = 1024 * 1024;
const TAKEN = "A document with this filename already exists at the specified path.";
const NO_PATH = "Provided path doesn't exist.";
const TOO_LARGE = "File too large, max limit is 1 MB";
const SMALL: TestOptions = { env: { MAX_UPLOAD_SIZE_MB: "1" } };
const user = { as: "user" } as const;
const admin = { as: "admin" } as const;

const file = (filename: string, data: Buffer | string = "some bytes"): Part => ({
  name: "file",
  filename,
  data,
});
const field = (name: string, value: string): Part => ({ name, value });
const sha256 = (data: Buffer | string) => createHash("sha256").update(data).digest("hex");

const upload = (app: TestApp, parts: Part[], as: CallOptions["as"] = "user") =>
  app.call("POST", "/api/v1/docs/upload", { as, multipart: parts });

/** What is in the storage and in the tables, to be the same before and after what fails. */
async function holdings(app: TestApp) {
  const rows = [];
  for (const table of ["Documents", "Processing_Status", "Outbox", "Deletions"]) {
    rows.push(
      (await app.app.database.first<{ n: number }>(`SELECT COUNT(*) AS n FROM ${table}`))?.n,
    );
  }
  const unfinished = join(app.folder, "blobs", ".unfinished");
  return {
    rows,
    blobs: await app.app.storage.list(""),
    unfinished: existsSync(unfinished) ? readdirSync(unfinished) : [],
  };
}

/** Waits until `holdings` are as they were: what a client that went away left is cleaned up soon after. */
async function settlesTo(
  app: TestApp,
  before: Awaited<ReturnType<typeof holdings>>,
): Promise<void> {
  const expected = JSON.stringify(before);
  const settled = async () => JSON.stringify(await holdings(app)) === expected;
  // What is left then shows in the comparison.
  await until(settled, "the clean-up", 60_000).catch(() => {});
  assert.deepEqual(await holdings(app), before);
}

/** The outbox empties by itself: waits, so that two holdings can be compared. */
async function outboxEmpty(app: TestApp): Promise<void> {
  const sent = async () => !(await app.app.database.first("SELECT outbox_id FROM Outbox"));
  await until(sent, "the outbox to empty");
}

const refused: Scenario[] = [
  { title: "no body", at: UPLOAD, ...user, status: 415 },
  { title: "JSON", at: UPLOAD, ...user, json: {}, status: 415 },
  {
    title: "no boundary",
    at: UPLOAD,
    ...user,
    body: "x",
    headers: { "Content-Type": "multipart/form-data" },
    status: 415,
  },
  { title: "no parts", at: UPLOAD, ...user, multipart: [], status: 422 },
  {
    title: "no file",
    at: UPLOAD,
    ...user,
    multipart: [field("description", "x")],
    status: 422,
    issues: ["missing body.file"],
  },
  { title: "a text for a file", at: UPLOAD, ...user, multipart: [field("file", "x")], status: 422 },
  { title: "two files", at: UPLOAD, ...user, multipart: [file("a"), file("b")], status: 422 },
  {
    title: "a file of another name",
    at: UPLOAD,
    ...user,
    multipart: [{ ...file("a"), name: "document" }],
    status: 422,
  },
  {
    title: "an unknown field",
    at: UPLOAD,
    ...user,
    multipart: [field("user_id", "1"), file("a")],
    status: 422,
    issues: ["extra_forbidden body.user_id"],
  },
  {
    title: "an unknown field after the file",
    at: UPLOAD,
    ...user,
    multipart: [file("a"), field("__proto__", "1")],
    status: 422,
  },
  {
    title: "a field twice",
    at: UPLOAD,
    ...user,
    multipart: [field("full_path", "/"), field("full_path", "/"), file("a")],
    status: 422,
  },
  {
    title: "a bad path before the file",
    at: UPLOAD,
    ...user,
    multipart: [field("full_path", "a//b"), file("a")],
    status: 422,
  },
  {
    title: "a bad path after the file",
    at: UPLOAD,
    ...user,
    multipart: [file("a"), field("full_path", "..")],
    status: 422,
  },
  {
    title: "a long description",
    at: UPLOAD,
    ...user,
    multipart: [file("a"), field("description", "x".repeat(5000))],
    status: 422,
  },
  {
    title: "no such path",
    at: UPLOAD,
    ...user,
    multipart: [field("full_path", "nowhere"), file("a")],
    status: 404,
    detail: NO_PATH,
  },
  {
    title: "no such path, told after the file",
    at: UPLOAD,
    ...user,
    multipart: [file("a"), field("full_path", "nowhere")],
    status: 404,
    detail: NO_PATH,
  },
  {
    title: "no such path for an empty file",
    at: UPLOAD,
    ...user,
    multipart: [file("a", ""), field("full_path", "nowhere")],
    status: 404,
    detail: NO_PATH,
  },
  {
    title: "an empty file",
    at: UPLOAD,
    ...user,
    multipart: [file("empty.txt", "")],
    status: 400,
    detail: "Uploaded file is empty",
  },
  {
    title: "a form cut short",
    at: UPLOAD,
    ...user,
    body: '--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc',
    headers: { "Content-Type": "multipart/form-data; boundary=x" },
    status: 422,
  },
  ...[
    "",
    " ",
    ".",
    "..",
    "dir/",
    "C:\\",
    "a\u0007b",
    "a\u202efdp.exe",
    "a\u2066b",
    "a\u0085b",
    "x".repeat(256),
    "a/..",
  ].map((name) => ({
    title: `the name ${JSON.stringify(name.slice(0, 20))}`,
    at: UPLOAD,
    ...user,
    multipart: [file(name)],
    status: 422,
  })),
];

apiSuite("uploads", (suite) => {
  suite.test("what is refused leaves nothing behind", async (app) => {
    await outboxEmpty(app);
    const before = await holdings(app);
    for (const row of refused) await play(app, row);
    await settlesTo(app, before);
  });
  scenarios(suite, refused);
  accepted(suite);
  slowStorage(suite);
  conflicts(suite);
  limits(suite);
  room(suite);
  failures(suite);
  commits(suite);
  messages(suite);
});

function accepted({ test }: Suite): void {
  test("an upload is stored, recorded, queued and told", async (app) => {
    const data = Buffer.from("%PDF-1.7 \u0000 bytes \r\n--not-the-boundary\r\n");
    const answer = await play(app, {
      title: "uploads",
      at: `${UPLOAD}/`,
      ...user,
      multipart: [
        field("description", "first page\n, وصف"),
        field("full_path", "/"),
        { ...file("report.pdf", data), type: "application/pdf" },
      ],
      status: 201,
      has: {
        filename: "report.pdf",
        ctype: "application/pdf",
        size: data.length,
        sha256: sha256(data),
        status: "Queued",
        metadata: { description: "first page\n, وصف", full_path: "/" },
      },
    });
    const { doc_id, path } = answer.body;
    assert.equal(answer.headers.get("location"), `/api/v1/docs/${doc_id}`);
    assert.deepEqual(Object.keys(answer.body).sort(), [
      "ctype",
      "doc_id",
      "filename",
      "metadata",
      "path",
      "sha256",
      "size",
      "status",
    ]);
    assert.deepEqual(await app.app.storage.download(path), data);
    const row = await app.app.database.first<Record<string, unknown>>(
      "SELECT * FROM Documents WHERE doc_id = @doc_id",
      { doc_id },
    );
    assert.deepEqual(
      [row?.mongo_doc_id, row?.file_type, row?.sha256, row?.file_size],
      ["pending", "pdf", sha256(data), data.length],
    );
    assert.match(String(row?.blob_key), /^[0-9a-f-]{36}\/report\.pdf$/);
    const log = await app.app.database.first<{ details: string }>(
      "SELECT details FROM Logs WHERE action_type = 'document_upload' AND entity_id = @doc_id",
      { doc_id },
    );
    assert.equal(JSON.parse(log?.details ?? "").sha256, sha256(data));
  });

  test("fields may come before or after the file, and the path with or without slashes", async (app) => {
    for (const full_path of ["in", "in/deep"])
      await app.call("POST", "/api/v1/paths", { ...admin, json: { full_path } });
    for (const [parts, where] of [
      [[file("1"), field("full_path", "/in/deep/"), field("description", "d")], "in/deep"],
      [[field("description", "d"), file("2"), field("full_path", "in")], "in"],
      [[field("full_path", "IN"), field("description", "d"), file("3")], "in"],
      [[field("full_path", ""), field("description", "d"), file("4")], "/"],
      [[file("5"), field("description", "d")], "/"],
    ] as const) {
      const { status, body } = await upload(app, [...parts]);
      assert.deepEqual([status, body.metadata], [201, { description: "d", full_path: where }]);
    }
    const { body } = await upload(app, [file("no description")]);
    assert.equal(body.metadata.description, null);
  });

  test("names of any script are kept, and only the last segment of a path", async (app) => {
    for (const [sent, kept] of [
      ["تقرير الربع الأول ٢٠٢٦.pdf", "تقرير الربع الأول ٢٠٢٦.pdf"],
      ["请求 – 漢字😀.txt", "请求 – 漢字😀.txt"],
      ["cafe\u0301.txt", "café.txt"],
      ["../../etc/passwd", "passwd"],
      ["C:\\Users\\me\\scan.png", "scan.png"],
      ["/absolute/name.doc", "name.doc"],
      ['quo"ted.txt', 'quo"ted.txt'],
      ["100% #1 ?a=b&c;d.txt", "100% #1 ?a=b&c;d.txt"],
      ["%2e%2e%2fup.txt", "%2e%2e%2fup.txt"],
      [".hidden", ".hidden"],
      ["...", "..."],
      ["CON", "CON"],
      ["trailing dot.", "trailing dot."],
      ["y".repeat(255), "y".repeat(255)],
      [`${"م".repeat(250)}.pdf`, `${"م".repeat(250)}.pdf`],
    ] as const) {
      const { status, body } = await upload(app, [file(sent, `bytes of ${kept}`)]);
      assert.deepEqual([status, body.filename], [201, kept]);
      const { bytes } = await app.call("GET", `/api/v1/docs/${body.doc_id}/download`, user);
      assert.equal(bytes.toString(), `bytes of ${kept}`);
      assert.equal((await app.app.storage.download(body.path)).toString(), `bytes of ${kept}`);
    }
  });

  test("a name in RFC 8187 form, a wild content type and headers of old clients", async (app) => {
    const head =
      "Content-Disposition: form-data; name=file; filename*=UTF-8''%D8%AA%20x.txt; filename=\"old.txt\"";
    const { status, body } = await upload(app, [
      { name: "file", head, data: "x", type: "text/html; charset=utf-8" },
    ]);
    assert.deepEqual(
      [status, body.filename, body.ctype],
      [201, "ت x.txt", "text/html; charset=utf-8"],
    );
    const odd = await upload(app, [{ ...file("odd type"), type: "not a type" }]);
    assert.deepEqual([odd.status, odd.body.ctype], [201, "application/octet-stream"]);
  });

  test("a chunked upload works like one of known length", async (app) => {
    const body = Readable.from([
      '--x\r\nContent-Disposition: form-data; name="file"; filename="chunked"\r\n\r\n',
      "a".repeat(100_000),
      "\r\n--",
      "x--\r\n",
    ]);
    const answer = await app.call("POST", "/api/v1/docs/upload", {
      ...user,
      body,
      headers: { "Content-Type": "multipart/form-data; boundary=x" },
    });
    assert.deepEqual([answer.status, answer.body.size], [201, 100_000]);
  });
}

function slowStorage({ test }: Suite): void {
  test("a storage that is slower than the client gets every byte, wherever the pieces end", async (app, t) => {
    const { storage } = app.app;
    const upload = storage.upload.bind(storage);
    const begun: (() => void)[] = [];
    t.mock.method(storage, "upload", async (...given: Parameters<typeof upload>) => {
      await new Promise<void>((resolve) => begun.push(resolve));
      return upload(...given);
    });
    // After so much that the buffers on the way are full, some more that one of them takes, and more than that with the end.
    const forms = Array.from({ length: 12 }, (_, i) => [150_000 + i * 30_000, 49_000, 30_000]);
    const answers = forms.map(async (pieces, i) => {
      const { request, answer } = app.open("POST", "/api/v1/docs/upload", {
        headers: {
          Authorization: `Bearer ${(await app.as("user")).token}`,
          "Content-Type": "multipart/form-data; boundary=x",
        },
      });
      request.write(
        `--x\r\nContent-Disposition: form-data; name="file"; filename="slow-${i}"\r\n\r\n`,
      );
      for (const [n, piece] of pieces.entries()) {
        // Apart, so that each is a piece for the server as well; the last brings the end along.
        await sleep(30);
        const bytes = Buffer.alloc(piece, "slow");
        if (n < pieces.length - 1) request.write(bytes);
        else request.end(Buffer.concat([bytes, Buffer.from("\r\n--x--\r\n")]));
      }
      return answer;
    });
    await until(() => begun.length === forms.length, "every upload to begin");
    await sleep(200);
    for (const begin of begun) begin();
    for (const [i, pieces] of forms.entries()) {
      const { status, body } = (await answers[i]) as Answer;
      const bytes = Buffer.concat(pieces.map((piece) => Buffer.alloc(piece, "slow")));
      assert.deepEqual([status, body.size, body.sha256], [201, bytes.length, sha256(bytes)]);
    }
  });
}

function conflicts({ test }: Suite): void {
  test("a name exists once in a path, whatever its case, and the first one's bytes stay", async (app) => {
    await app.call("POST", "/api/v1/paths", { ...admin, json: { full_path: "elsewhere" } });
    const first = await upload(app, [file("Same.txt", "first")]);
    assert.equal(first.status, 201);
    await outboxEmpty(app);
    const before = await holdings(app);
    for (const parts of [
      [file("Same.txt", "second")],
      [field("full_path", "/"), file("same.TXT", "second")],
      [file("Same.txt", ""), field("full_path", "/")],
    ]) {
      for (const as of ["user", "other"] as const) {
        const again = await upload(app, parts, as);
        assert.deepEqual([again.status, again.body.detail], [409, TAKEN]);
      }
    }
    await settlesTo(app, before);
    const { bytes } = await app.call("GET", `/api/v1/docs/${first.body.doc_id}/download`, user);
    assert.equal(bytes.toString(), "first");
    assert.equal(
      (await upload(app, [field("full_path", "elsewhere"), file("Same.txt")])).status,
      201,
    );
  });

  test("of ten uploads of one name at once one wins, and its bytes are the ones stored", async (app) => {
    await outboxEmpty(app);
    const before = await holdings(app);
    const contents = Array.from({ length: 10 }, (_, i) =>
      Buffer.alloc(200_000, `upload number ${i} `),
    );
    const answers = await Promise.all(
      contents.map((data, i) =>
        upload(
          app,
          i % 2 ? [file("race.bin", data)] : [field("full_path", "/"), file("race.bin", data)],
        ),
      ),
    );
    assert.deepEqual(answers.map(({ status }) => status).sort(), [201, ...Array(9).fill(409)]);
    const winner = answers.findIndex(({ status }) => status === 201);
    for (const { status, body } of answers) if (status === 409) assert.equal(body.detail, TAKEN);
    const { body } = answers[winner] as (typeof answers)[number];
    const { bytes } = await app.call("GET", `/api/v1/docs/${body.doc_id}/download`, user);
    assert.equal(sha256(bytes), sha256(contents[winner] as Buffer));
    await outboxEmpty(app);
    const after = await holdings(app);
    assert.equal(after.blobs.length, before.blobs.length + 1);
    assert.deepEqual(after.unfinished, []);
    assert.deepEqual(after.rows, [Number(before.rows[0]) + 1, Number(before.rows[1]) + 1, 0, 0]);
  });

  test("a taken name is told before a byte is stored, when the path came first", async (app, t) => {
    await upload(app, [file("known.txt")]);
    const stored = t.mock.method(app.app.storage, "upload");
    const answer = await upload(app, [
      field("full_path", "/"),
      file("known.txt", Buffer.alloc(MEGABYTE)),
    ]);
    assert.deepEqual([answer.status, answer.body.detail, stored.mock.callCount()], [409, TAKEN, 0]);
  });
}

function limits({ testAlone }: Suite): void {
  testAlone("a file of exactly the limit passes, one byte more does not", SMALL, async (app) => {
    const before = await holdings(app);
    const over = Buffer.alloc(MEGABYTE + 1, "x");
    const answer = await upload(app, [file("over", over)]);
    assert.deepEqual([answer.status, answer.body.detail], [413, TOO_LARGE]);
    await settlesTo(app, before);
    const exact = await upload(app, [
      field("description", "d".repeat(4000)),
      file("exact", over.subarray(1)),
    ]);
    assert.deepEqual([exact.status, exact.body.size], [201, MEGABYTE]);
  });

  testAlone(
    "an announced length beyond the limit is refused before the body comes",
    SMALL,
    async (app) => {
      const { token } = await app.as("user");
      for (const [authorization, status] of [
        [{ Authorization: `Bearer ${token}` }, 413],
        [{}, 401],
      ] as const) {
        const { request, answer } = app.open("POST", "/api/v1/docs/upload", {
          headers: {
            ...authorization,
            "Content-Type": "multipart/form-data; boundary=x",
            "Content-Length": String(200 * MEGABYTE),
          },
        });
        request.on("error", () => {});
        request.flushHeaders();
        assert.equal((await answer).status, status);
        request.destroy();
      }
    },
  );

  testAlone(
    "with Expect: 100-continue the refusal comes instead of the invitation",
    SMALL,
    async (app) => {
      const { token } = await app.as("user");
      for (const [headers, status] of [
        [{ "Content-Length": "9" }, 401],
        [{ Authorization: `Bearer ${token}`, "Content-Length": String(200 * MEGABYTE) }, 413],
        [
          { Authorization: `Bearer ${token}`, "Content-Length": "9", "Content-Type": "text/plain" },
          415,
        ],
      ] as const) {
        const { request, answer } = app.open("POST", "/api/v1/docs/upload", {
          headers: {
            "Content-Type": "multipart/form-data; boundary=x",
            ...headers,
            Expect: "100-continue",
          },
        });
        let invited = false;
        request.on("continue", () => {
          invited = true;
        });
        request.on("error", () => {});
        request.flushHeaders();
        assert.equal((await answer).status, status);
        assert.equal(invited, false);
        request.destroy();
      }
    },
  );
}

/** An upload whose body stands still after `bytes` of the file. */
async function halfUpload(app: TestApp, as: CallOptions["as"], name: string, bytes: number) {
  const person = typeof as === "object" ? as : await app.as("user");
  const { request, answer } = app.open("POST", "/api/v1/docs/upload", {
    headers: {
      Authorization: `Bearer ${person.token}`,
      "Content-Type": "multipart/form-data; boundary=x",
      "Transfer-Encoding": "chunked",
    },
  });
  request.on("error", () => {});
  request.write(`--x\r\nContent-Disposition: form-data; name="file"; filename="${name}"\r\n\r\n`);
  request.write(Buffer.alloc(bytes, "half "));
  return { request, answer, finish: () => void request.end("\r\n--x--\r\n") };
}

function failures({ test, testAlone }: Suite): void {
  test("a client that goes away mid-upload leaves nothing", async (app, t) => {
    await outboxEmpty(app);
    const before = await holdings(app);
    const started = t.mock.method(app.app.storage, "upload");
    for (const name of ["gone-1", "gone-2", "gone-3"]) {
      const { request } = await halfUpload(app, "user", name, 300_000);
      await until(() => started.mock.callCount() > 0, "the upload to begin");
      started.mock.resetCalls();
      request.destroy();
    }
    await settlesTo(app, before);
    assert.equal((await upload(app, [file("gone-1")])).status, 201);
  });

  for (const [what, status, befall] of [
    [
      "is deactivated",
      403,
      (app: TestApp, { id }: Person) =>
        app.call("PATCH", `/api/v1/users/${id}`, { ...admin, json: { is_active: false } }),
    ],
    [
      "is deleted",
      401,
      (app: TestApp, { id }: Person) => app.call("DELETE", `/api/v1/users/${id}`, admin),
    ],
    [
      "loses the session",
      401,
      ({ app }: TestApp, { id }: Person) =>
        revokeSessions(app.database, { userId: id }, "test", new Date()),
    ],
  ] as const)
    test(`a user who ${what} meanwhile does not get the upload through`, async (app, t) => {
      const person = await app.person();
      const started = t.mock.method(app.app.storage, "upload");
      await outboxEmpty(app);
      const before = await holdings(app);
      const { answer, finish } = await halfUpload(app, person, "too-late", 10_000);
      await until(() => started.mock.callCount() > 0, "the upload to begin");
      await befall(app, person);
      finish();
      assert.equal((await answer).status, status);
      await settlesTo(app, before);
    });

  testAlone("a token that expires meanwhile does not stop an upload", {}, async (app, t) => {
    const started = t.mock.method(app.app.storage, "upload");
    const { answer, finish } = await halfUpload(app, "user", "slow", 10_000);
    await until(() => started.mock.callCount() > 0, "the upload to begin");
    app.clock.offset = 120_000;
    // The session may end with it.
    await app.app.database.run("UPDATE Sessions SET expires_at = @at", {
      at: new Date(Date.now() + 60_000),
    });
    finish();
    assert.equal((await answer).status, 201);
  });

  test("a storage that fails is a 500 that says so, leaves no row, and the next upload works", async (app, t) => {
    await outboxEmpty(app);
    const before = await holdings(app);
    const secret = "connection to 10.1.2.3 with key abc";
    const down = t.mock.method(app.app.storage, "upload", async (stream: Readable) => {
      stream.resume();
      throw new Error(secret);
    });
    for (const size of [10, 2 * MEGABYTE]) {
      const answer = await upload(app, [file("unlucky", Buffer.alloc(size, "x"))]);
      assert.deepEqual([answer.status, answer.body.detail], [500, "Storage upload failed"]);
      assert.doesNotMatch(answer.bytes.toString(), /10\.1/);
    }
    // Also one that fails without reading.
    down.mock.mockImplementation(() => Promise.reject(new Error(secret)));
    assert.equal((await upload(app, [file("unlucky", Buffer.alloc(2 * MEGABYTE))])).status, 500);
    down.mock.restore();
    await settlesTo(app, before);
    assert.equal((await upload(app, [file("unlucky")])).status, 201);
  });

  testAlone(
    "a database that fails at the commit is a 500 or 503, and the blob goes",
    {},
    async (app, t) => {
      const before = await holdings(app);
      commitEnds(app, t, () => Promise.reject(new Error("no such column: secret")));
      await app.as("user");
      const answer = await upload(app, [file("uncommitted")]);
      assert.deepEqual([answer.status, answer.body], [500, { detail: "Internal Server Error" }]);
      await settlesTo(app, before);
    },
  );
}

/** How the next commit that must be durable ends; the note of an upload, before it, need not be. */
function commitEnds(
  app: TestApp,
  t: TestContext,
  end: (commit: () => Promise<unknown>) => Promise<never>,
): void {
  const { database } = app.app;
  const transaction = database.transaction.bind(database);
  const { mock } = t.mock.method(database, "transaction", ((work, options) => {
    if (options?.durable === false) return transaction(work, options);
    mock.restore();
    return end(() => transaction(work));
  }) as typeof transaction);
}

function commits({ test, testAlone }: Suite): void {
  for (const [error, status, detail] of [
    [new UniqueViolation("the other upload was faster"), 409, TAKEN],
    [new ForeignKeyViolation("the path went meanwhile"), 404, NO_PATH],
  ] as const) {
    test(`a race that the database decides at the commit is a ${status}`, async (app, t) => {
      await app.as("user");
      await outboxEmpty(app);
      await trailSealed(app);
      const before = await holdings(app);
      commitEnds(app, t, () => Promise.reject(error));
      const answer = await upload(app, [file("raced.txt")]);
      assert.deepEqual([answer.status, answer.body.detail], [status, detail]);
      await settlesTo(app, before);
    });
  }

  test("a commit whose answer is lost may have happened: the blob stays", async (app, t) => {
    await app.as("user");
    await trailSealed(app);
    commitEnds(app, t, async (commit) => {
      await commit();
      throw unavailable("The database", new OutcomeUnknown("the commit was not confirmed"));
    });
    assert.equal((await upload(app, [file("lost-answer.txt", "its bytes")])).status, 503);
    const { body } = await app.call("GET", "/api/v1/docs/me?q=lost-answer", user);
    assert.equal(body.total, 1);
    const at = `/api/v1/docs/${body.items[0].doc_id}/download`;
    assert.equal((await app.call("GET", at, user)).bytes.toString(), "its bytes");
  });

  testAlone(
    "a commit that was not confirmed and did not happen: the blob goes",
    {},
    async (app, t) => {
      const before = await holdings(app);
      const lost = unavailable("The database", new OutcomeUnknown("the commit was not confirmed"));
      commitEnds(app, t, () => Promise.reject(lost));
      await app.as("user");
      assert.equal((await upload(app, [file("uncommitted.txt")])).status, 503);
      const { rows, blobs } = await holdings(app);
      assert.deepEqual([rows.at(-1), blobs.length], [1, 1]);
      app.clock.offset = 21_000;
      await settlesTo(app, before);
    },
  );

  testAlone("a commit that surely did not happen takes its blob with it", {}, async (app, t) => {
    const before = await holdings(app);
    const full = unavailable("The database", new Error("database or disk is full"));
    commitEnds(app, t, () => Promise.reject(full));
    await app.as("user");
    assert.equal((await upload(app, [file("uncommitted.txt")])).status, 503);
    assert.deepEqual(await holdings(app), before);
  });

  for (const [seconds, status] of [
    [19, 201],
    [21, 503],
  ] as const) {
    testAlone(
      `another process whose clock is ${seconds} s ahead makes an upload a ${status}`,
      {},
      async (app, t) => {
        const { storage } = app.app;
        const before = await holdings(app);
        const now = () => new Date(Date.now() + seconds * 1000);
        const findBlob = createBlobFinder(storage);
        const other = createDeletions({ ...app.app, findBlob, now, log: silent });
        const store = storage.upload.bind(storage);
        t.mock.method(storage, "upload", async (...given: Parameters<typeof store>) => {
          const url = await store(...given);
          await other.carryOutDue(new AbortController().signal);
          return url;
        });
        assert.equal((await upload(app, [file("slow.txt")])).status, status);
        if (status === 503) await settlesTo(app, before);
        else assert.equal((await storage.list("")).length, 1);
      },
    );
  }
}

function room({ testAlone }: Suite): void {
  const floor = 1024 * 1024;
  testAlone(
    "with too little room the body is not asked for, readiness tells, and it heals",
    { env: { MIN_FREE_MB: "1", MAX_UPLOAD_SIZE_MB: "1" } },
    async (app, t) => {
      const { storage } = app.app;
      let free = floor + 1000;
      // A storage elsewhere has no such method.
      Object.assign(storage, { freeBytes: async () => free });
      const before = await holdings(app);
      const ask = async (length: number) => {
        const { token } = await app.as("user");
        const { request, answer } = app.open("POST", "/api/v1/docs/upload", {
          headers: {
            Authorization: `Bearer ${token}`,
            "Content-Type": "multipart/form-data; boundary=x",
            "Content-Length": String(length),
            Expect: "100-continue",
          },
        });
        const asked = t.mock.fn();
        request.on("continue", asked).on("error", () => {});
        request.flushHeaders();
        const { status, body } = await answer;
        request.destroy();
        return [status, body.detail, asked.mock.callCount()];
      };
      assert.deepEqual(await ask(1001), [507, "Not enough space to store the file", 0]);
      // What can't be stored anyway is told first.
      assert.deepEqual(await ask(2 * MEGABYTE), [413, TOO_LARGE, 0]);
      assert.equal((await upload(app, [file("small.txt")], "nobody")).status, 401);
      assert.equal((await app.call("GET", "/ready")).status, 200);
      free = floor - 1;
      const chunked = { ...user, multipart: [file("small.txt")] };
      assert.equal((await app.call("POST", "/api/v1/docs/upload", chunked)).status, 507);
      const { status, body } = await app.call("GET", "/ready");
      assert.deepEqual(
        [status, body.checks.storage, body.checks.broker],
        [503, "unavailable", "ok"],
      );
      assert.deepEqual(await holdings(app), before);
      free = floor + 1000;
      assert.equal((await app.call("GET", "/ready")).status, 200);
      assert.equal((await upload(app, [file("small.txt")])).status, 201);
      const told = app.lines.filter(({ level }) => level === "warn" || level === "error");
      assert.deepEqual(
        told.map(({ level, message, status }) => [level, message, status]),
        [
          ["warn", "request", 507],
          ["warn", "request", 507],
          ["warn", "a part is not ready", undefined],
        ],
      );
    },
  );
}

function messages({ testAlone }: Suite): void {
  testAlone(
    "for the cloud worker an upload queues both of its stages; lists show the OCR",
    { env: { PROCESSING_BACKEND: "ai_foundry" } },
    async (app) => {
      const { body } = await upload(app, [file("cloud.pdf")]);
      const { body: detail } = await app.call("GET", `/api/v1/docs/${body.doc_id}`, user);
      const stage = (stage_name: string) => ({
        stage_name,
        status: "Queued",
        start_time: detail.uploaded_at,
        end_time: null,
        error_message: null,
        pages_done: null,
        pages_total: null,
      });
      assert.deepEqual(detail.stages, [stage("OCR"), stage("Classification")]);
      await app.app.database.run(
        "UPDATE Processing_Status SET status = 'Failed' WHERE stage_name = 'Classification'",
      );
      const { body: list } = await app.call("GET", "/api/v1/docs/me", user);
      assert.deepEqual([list.total, list.items[0].status], [1, "Queued"]);
      const { body: status } = await app.call("GET", `/api/v1/docs/${body.doc_id}/status`, user);
      assert.deepEqual([status.stage_name, status.status], ["OCR", "Queued"]);
    },
  );

  testAlone(
    "each upload is one message, with exactly four fields, and none is for what failed",
    {},
    async (app) => {
      const { id } = await app.as("user");
      const expected = [];
      for (const name of ["one.txt", "اثنان.pdf", "three"]) {
        const { body } = await upload(app, [file(name)]);
        expected.push({ doc_id: body.doc_id, file_path: body.path, filename: name, user_id: id });
        await upload(app, [file(name)]);
      }
      const taken = await app.takeMessages(3);
      const bodies = taken.map(({ body }) => JSON.parse(body)).sort((a, b) => a.doc_id - b.doc_id);
      assert.deepEqual(bodies, expected);
      assert.equal(new Set(taken.map((message) => message.id)).size, 3);
      await outboxEmpty(app);
    },
  );

  testAlone(
    "with the broker down uploads go on, and the backlog drains when it is back",
    {},
    async (app, t) => {
      delete app.app.broker.enqueue;
      const down = t.mock.method(app.app.broker, "publish", () =>
        Promise.reject(new Error("no broker")),
      );
      for (const name of ["a", "b"]) assert.equal((await upload(app, [file(name)])).status, 201);
      await until(() => down.mock.callCount() > 0, "a publish to fail");
      down.mock.restore();
      const bodies = (await app.takeMessages(2)).map(({ body }) => JSON.parse(body).filename);
      assert.deepEqual(bodies.sort(), ["a", "b"]);
    },
  );
}
