import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { test } from "node:test";
import {
  apiSuite,
  type CallOptions,
  type Suite,
  startTestApp,
  type TestApp,
} from "../support/app.ts";
import { until } from "../support/wait.ts";
import { play, type Scenario, scenarios } from "./scenarios.ts";

const NOTHING = 999_999;
const admin = { as: "admin" } as const;
const user = { as: "user" } as const;

async function upload(
  app: TestApp,
  filename: string,
  more: { as?: CallOptions["as"]; path?: string; description?: string } = {},
) {
  const fields = { full_path: more.path, description: more.description };
  const multipart = [
    ...Object.entries(fields).flatMap(([name, value]) =>
      value === undefined ? [] : [{ name, value }],
    ),
    { name: "file", filename, data: `the bytes of ${filename}`, type: "text/plain" },
  ];
  const as = more.as ?? "user";
  return (
    await play(app, { title: filename, at: "POST /api/v1/docs/upload", as, multipart, status: 201 })
  ).body;
}

/** What the OCR worker writes. */
function setStatus(app: TestApp, docId: number, status: string, error: string | null = null) {
  return app.app.database.run(
    "UPDATE Processing_Status SET status = @status, error_message = @error, start_time = @at WHERE doc_id = @docId",
    { docId, status, error, at: new Date("2026-02-26T14:30:00.120Z") },
  );
}

const ids = (body: { items: { doc_id: number }[] }) => body.items.map(({ doc_id }) => doc_id);

const BAD_QUERIES = [
  "skip=-1",
  "limit=0",
  "limit=101",
  "limit=x",
  "status=queued",
  "status=Done",
  "status=",
  "path=a//b",
  "path=..",
  "path=a%5Cb",
  "q=a%00",
  "limit=1&limit=2",
  `q=${"x".repeat(256)}`,
];

const rows: Scenario[] = [
  ...BAD_QUERIES.flatMap((query) =>
    ["", "/me"].map((list) => ({
      title: "a bad query",
      at: `GET /api/v1/docs${list}?${query}`,
      ...admin,
      status: query.includes("%00") ? 400 : 422,
    })),
  ),
  ...["user_id=0", "user_id=x", "user_id=-1", "user_id="].map((query) => ({
    title: "a bad user",
    at: `GET /api/v1/docs?${query}`,
    ...admin,
    status: 422,
  })),
  {
    title: "a path that isn't",
    at: "GET /api/v1/docs?path=nowhere",
    ...admin,
    status: 200,
    has: { total: 0, items: [] },
  },
  {
    title: "nobody's",
    at: "GET /api/v1/docs?user_id=999999",
    ...admin,
    status: 200,
    has: { total: 0, items: [] },
  },
  ...["0", "-1", "x", "1.0", "9007199254740993"]
    .flatMap((id) =>
      [
        `GET /api/v1/docs/${id}`,
        `GET /api/v1/docs/${id}/status`,
        `GET /api/v1/docs/${id}/download`,
        `DELETE /api/v1/docs/${id}`,
      ].map((at) => ({ title: "no id", at, ...admin, status: 422, issues: ["regex path.doc_id"] })),
    )
    .map(({ issues, ...row }) => (row.at.includes("9007") ? row : { ...row, issues })),
  {
    title: "nothing",
    at: `GET /api/v1/docs/${NOTHING}`,
    ...user,
    status: 404,
    detail: `Document with id ${NOTHING} not found.`,
  },
  {
    title: "nothing",
    at: `GET /api/v1/docs/${NOTHING}/status`,
    ...user,
    status: 404,
    detail: `Document with id ${NOTHING} not found.`,
  },
  {
    title: "nothing",
    at: `GET /api/v1/docs/${NOTHING}/download`,
    ...user,
    status: 404,
    detail: `Document with id ${NOTHING} not found.`,
  },
  {
    title: "nothing",
    at: `DELETE /api/v1/docs/${NOTHING}`,
    ...admin,
    status: 404,
    detail: "Document not found",
  },
  { title: "a bad flag", at: "DELETE /api/v1/docs/1?force=perhaps", ...admin, status: 422 },
  { title: "a large id", at: "GET /api/v1/docs/9007199254740991", ...user, status: 404 },
];

apiSuite("documents", (suite) => {
  scenarios(suite, rows);
  lists(suite);
  visibility(suite);
  details(suite);
  deletion(suite);
  movedBlobs(suite);
});

function lists({ testAlone }: Suite): void {
  testAlone(
    "the lists are newest first, with a total, and one's own is one's own",
    {},
    async (app) => {
      const mine = [];
      for (let i = 0; i < 5; i++) mine.unshift((await upload(app, `mine${i}.txt`)).doc_id);
      const theirs = (await upload(app, "theirs.txt", { as: "other" })).doc_id;
      const list = async (at: string, as: CallOptions["as"]) =>
        (await play(app, { title: at, at: `GET /api/v1/docs${at}`, as, status: 200 })).body;

      assert.deepEqual(ids(await list("/me", "user")), mine);
      assert.deepEqual(ids(await list("/me", "other")), [theirs]);
      assert.deepEqual(await list("/me", "admin"), { total: 0, items: [] });
      assert.deepEqual(ids(await list("", "admin")), [theirs, ...mine]);
      assert.deepEqual(ids(await list("/me?skip=1&limit=2", "user")), mine.slice(1, 3));
      assert.equal((await list("/me?skip=1&limit=2", "user")).total, 5);
      assert.deepEqual(await list("/me?skip=5", "user"), { total: 5, items: [] });
      const { id, fullName } = await app.as("other");
      assert.deepEqual(ids(await list(`?user_id=${id}`, "admin")), [theirs]);
      // A filter of another list never widens one's own.
      assert.deepEqual(ids(await list(`/me?user_id=${id}`, "user")), mine);

      const [item] = (await list("/me", "other")).items;
      assert.deepEqual(
        { ...item, uploaded_at: undefined },
        {
          doc_id: theirs,
          filename: "theirs.txt",
          path: "/",
          uploaded_by_user_id: id,
          uploaded_by: fullName,
          uploaded_at: undefined,
          status: "Queued",
          error_message: null,
          size: 23,
          content_type: "text/plain",
        },
      );
      assert.match(item.uploaded_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    },
  );

  testAlone("filters narrow a list: status, path, part of the name", {}, async (app) => {
    for (const full_path of ["a", "a/b", "ab"])
      await play(app, {
        title: full_path,
        at: "POST /api/v1/paths",
        ...admin,
        json: { full_path },
        status: 201,
      });
    const [root, a, ab, beside] = [
      await upload(app, "50%_[x].txt"),
      await upload(app, "تقرير الربع.pdf", { path: "/a/" }),
      await upload(app, "500ax.TXT", { path: "a/b" }),
      await upload(app, "beside.dat", { path: "ab" }),
    ];
    await setStatus(app, a.doc_id, "Finished");
    await setStatus(app, ab.doc_id, "Failed", "no text in it");
    for (const [query, found] of [
      [{ status: "Queued" }, [beside, root]],
      [{ status: "Finished" }, [a]],
      [{ status: "Failed" }, [ab]],
      [{ status: "Processing" }, []],
      [{ path: "/" }, [root]],
      [{ path: "a" }, [a]],
      [{ path: "/a/b/" }, [ab]],
      [{ path: "a", recursive: "true" }, [ab, a]],
      [{ path: "a/b", recursive: "true" }, [ab]],
      [{ path: "/", recursive: "true" }, [beside, ab, a, root]],
      [{ path: "a", recursive: "true", status: "Failed" }, [ab]],
      [{ path: "a_b", recursive: "true" }, []],
      [{ path: "a", recursive: "false" }, [a]],
      [{ q: "%_[" }, [root]],
      [{ q: "الربع" }, [a]],
      [{ q: "txt" }, [ab, root]],
      [{ q: "" }, [beside, ab, a, root]],
      [{ q: "50", status: "Failed", path: "a/b" }, [ab]],
      [{ q: "50", status: "Failed", path: "a" }, []],
    ] as const) {
      for (const list of ["", "/me"]) {
        const at = `GET /api/v1/docs${list}?${new URLSearchParams(query)}`;
        const { body } = await play(app, {
          title: at,
          at,
          as: list ? "user" : "admin",
          status: 200,
        });
        assert.deepEqual(
          [body.total, ids(body)],
          [found.length, found.map(({ doc_id }) => doc_id)],
          at,
        );
      }
    }
    const { body } = await app.call("GET", "/api/v1/docs/me?status=Failed", user);
    assert.equal(body.items[0].error_message, "no text in it");
  });

  testAlone("pages neither repeat nor skip a document of one instant", {}, async (app) => {
    const all = [];
    for (let i = 0; i < 7; i++) all.unshift((await upload(app, `same${i}.txt`)).doc_id);
    await app.app.database.run("UPDATE Documents SET uploaded_at = @at", {
      at: new Date("2026-02-26T14:30:00Z"),
    });
    const seen = [];
    for (let skip = 0; skip < 7; skip += 3) {
      seen.push(...ids((await app.call("GET", `/api/v1/docs?skip=${skip}&limit=3`, admin)).body));
    }
    assert.deepEqual(seen, all);
  });

  testAlone(
    "a document that the reference system finished twice is listed once, with the last state",
    {},
    async (app) => {
      const { doc_id } = await upload(app, "twice.txt");
      for (const [stage_name, status] of [
        ["OCR", "Finished"],
        ["Classification", "Failed"],
      ] as const) {
        await app.app.database.insert(
          "Processing_Status",
          {
            doc_id,
            stage_name,
            status,
            start_time: new Date(),
            end_time: null,
            error_message: null,
          },
          "status_id",
        );
      }
      const { body } = await app.call("GET", "/api/v1/docs/me", user);
      assert.deepEqual([body.total, body.items.length, body.items[0].status], [1, 1, "Finished"]);
      const { body: detail } = await app.call("GET", `/api/v1/docs/${doc_id}`, user);
      assert.deepEqual(
        detail.stages.map((stage: Record<string, unknown>) => [stage.stage_name, stage.status]),
        [
          ["OCR", "Queued"],
          ["OCR", "Finished"],
          ["Classification", "Failed"],
        ],
      );
    },
  );
}

function visibility({ test }: Suite): void {
  test("a document of somebody else does not exist, but for an admin", async (app) => {
    const { doc_id } = await upload(app, "private.txt");
    for (const what of ["", "/status", "/download"]) {
      const at = `GET /api/v1/docs/${doc_id}${what}`;
      await play(app, {
        title: "another",
        at,
        as: "other",
        status: 404,
        detail: `Document with id ${doc_id} not found.`,
      });
      await play(app, { title: "the owner", at, as: "user", status: 200 });
      await play(app, { title: "an admin", at, as: "admin", status: 200 });
    }
    await play(app, {
      title: "not even the owner deletes",
      at: `DELETE /api/v1/docs/${doc_id}?force=true`,
      as: "user",
      status: 403,
    });
  });
}

function details({ test }: Suite): void {
  test("the detail has all that is known, and the status what a client polls", async (app) => {
    const { doc_id, sha256 } = await upload(app, "détail.txt", { description: "وصف" });
    const { id, fullName } = await app.as("user");
    const detail = (await app.call("GET", `/api/v1/docs/${doc_id}`, user)).body;
    const queued = detail.uploaded_at;
    const expected = {
      doc_id,
      filename: "détail.txt",
      path: "/",
      uploaded_by_user_id: id,
      uploaded_by: fullName,
      status: "Queued",
      error_message: null,
      size: 24,
      content_type: "text/plain",
      sha256,
      description: "وصف",
    };
    assert.deepEqual({ ...detail, ...expected }, detail);
    assert.deepEqual(detail.stages, [
      {
        stage_name: "OCR",
        status: "Queued",
        start_time: queued,
        end_time: null,
        error_message: null,
        pages_done: null,
        pages_total: null,
      },
    ]);

    assert.deepEqual([detail.ocr, detail.classification], [null, null]);

    const poll = async () => (await app.call("GET", `/api/v1/docs/${doc_id}/status`, user)).body;
    const waiting = {
      doc_id,
      filename: "détail.txt",
      stage_name: "OCR",
      status: "Queued",
      start_time: queued,
      end_time: null,
      error_message: null,
      pages_done: null,
      pages_total: null,
    };
    assert.deepEqual(await poll(), waiting);
    const told = (status: string) =>
      app.app.database.run(
        `UPDATE Processing_Status SET status = @status, pages_done = 3, pages_total = 7
         WHERE doc_id = @doc_id`,
        { doc_id, status },
      );
    await told("Processing");
    const pages = { status: "Processing", pages_done: 3, pages_total: 7 };
    assert.deepEqual(await poll(), { ...waiting, ...pages });
    const { stages } = (await app.call("GET", `/api/v1/docs/${doc_id}`, user)).body;
    assert.deepEqual({ ...stages[0], ...pages }, stages[0]);
    await told("Finished");
    assert.deepEqual(await poll(), { ...waiting, status: "Finished" });
    await setStatus(app, doc_id, "Failed", "unreadable");
    assert.deepEqual(await poll(), {
      ...waiting,
      status: "Failed",
      start_time: "2026-02-26T14:30:00.120Z",
      error_message: "unreadable",
    });
  });
}

/** Where the cloud worker puts a blob, over what is there; the text says so. */
async function move(app: TestApp, docId: number, from: string, to: string): Promise<void> {
  const { storage, content } = app.app;
  const bytes = await storage.download(from);
  await storage.delete(to);
  await storage.upload(Readable.from([bytes]), to);
  await storage.delete(from);
  await content.put({
    doc_id: docId,
    filename: "moved",
    file_type: "txt",
    blob_path: to,
    extracted_text: "text",
    ocr: {
      page_count: 1,
      word_count: 1,
      avg_confidence: 0.5,
      primary_language: "en",
      elapsed_seconds: 1,
    },
    classification: null,
    processed_at: new Date(),
  });
}

function movedBlobs({ test }: Suite): void {
  const remove = (app: TestApp, docId: number) =>
    app.call("DELETE", `/api/v1/docs/${docId}?force=true`, admin);
  const path = async (app: TestApp, full_path: string) => {
    await app.call("POST", "/api/v1/paths", { ...admin, json: { full_path } });
    return full_path;
  };
  const download = (app: TestApp, docId: number) =>
    app.call("GET", `/api/v1/docs/${docId}/download`, user);

  for (const followed of [false, true]) {
    test(`a moved blob goes with its document, ${followed ? "followed" : "never asked for"}`, async (app) => {
      const { storage, content } = app.app;
      const name = `gone-${followed}.txt`;
      const { doc_id, path: url } = await upload(app, name);
      await move(app, doc_id, url, `letters/${name}`);
      if (followed) assert.equal((await download(app, doc_id)).status, 200);
      assert.equal((await remove(app, doc_id)).status, 200);
      assert.equal(await storage.exists(`letters/${name}`), false);
      assert.equal(await content.get(doc_id), undefined);
    });
  }

  test("of two documents that moved to one name, only the owner's deletion takes the bytes", async (app) => {
    const { storage } = app.app;
    const first = await upload(app, "one-name.txt");
    await move(app, first.doc_id, first.path, "letters/one-name.txt");
    assert.equal((await download(app, first.doc_id)).status, 200);
    const inPath = { path: await path(app, "one") };
    const second = await play(app, {
      title: "other bytes",
      at: "POST /api/v1/docs/upload",
      ...user,
      multipart: [
        { name: "full_path", value: inPath.path },
        { name: "file", filename: "one-name.txt", data: "other bytes" },
      ],
      status: 201,
    });
    await move(app, second.body.doc_id, second.body.path, "letters/one-name.txt");
    assert.equal((await remove(app, first.doc_id)).status, 200);
    assert.equal((await download(app, second.body.doc_id)).bytes.toString(), "other bytes");
    assert.equal((await remove(app, second.body.doc_id)).status, 200);
    assert.equal(await storage.exists("letters/one-name.txt"), false);
  });

  test("bytes that are not proven to be the document's stay where it moved", async (app) => {
    const { storage } = app.app;
    const { doc_id, path: url } = await upload(app, "foreign.txt");
    await move(app, doc_id, url, "letters/foreign.txt");
    await storage.delete("letters/foreign.txt");
    await storage.upload(Readable.from([Buffer.from("somebody's")]), "letters/foreign.txt");
    assert.equal((await remove(app, doc_id)).status, 200);
    assert.equal((await storage.download("letters/foreign.txt")).toString(), "somebody's");
    await storage.delete("letters/foreign.txt");
  });

  test("two documents with the same bytes share a moved blob until the last one goes", async (app) => {
    const { storage } = app.app;
    const twins = [
      await upload(app, "twin.txt"),
      await upload(app, "twin.txt", { path: await path(app, "twins") }),
    ];
    for (const { doc_id, path: url } of twins) await move(app, doc_id, url, "letters/twin.txt");
    assert.equal((await remove(app, twins[0].doc_id)).status, 200);
    assert.equal((await download(app, twins[1].doc_id)).status, 200);
    assert.equal((await remove(app, twins[1].doc_id)).status, 200);
    assert.equal(await storage.exists("letters/twin.txt"), false);
  });
}

function deletion({ test, testAlone }: Suite): void {
  for (const [status, force, expected] of [
    ["Queued", "", 409],
    ["Queued", "?force=false", 409],
    ["Processing", "", 409],
    ["Queued", "?force=true", 200],
    ["Processing", "?force=TRUE", 200],
    ["Finished", "", 200],
    ["Failed", "?force=0", 200],
  ] as const) {
    test(`deleting a document that is ${status}${force}: ${expected}`, async (app) => {
      const { doc_id, path } = await upload(app, `${status}${expected}${force.slice(1)}.txt`);
      await setStatus(app, doc_id, status);
      const at = `DELETE /api/v1/docs/${doc_id}${force}`;
      const { body } = await play(app, { title: status, at, ...admin, status: expected });
      if (expected === 200)
        assert.deepEqual(body, { doc_id, message: "Document deleted successfully." });
      assert.equal(await app.app.storage.exists(path), expected !== 200);
      await play(app, {
        title: "afterwards",
        at: `GET /api/v1/docs/${doc_id}`,
        ...user,
        status: expected === 200 ? 404 : 200,
      });
    });
  }

  test("a deletion takes rows, blob and the waiting message, and leaves an audit row", async (app) => {
    const { doc_id } = await upload(app, "leaving.txt");
    await play(app, {
      title: "deletes",
      at: `DELETE /api/v1/docs/${doc_id}?force=1`,
      ...admin,
      status: 200,
    });
    await play(app, {
      title: "twice",
      at: `DELETE /api/v1/docs/${doc_id}`,
      ...admin,
      status: 404,
      detail: "Document not found",
    });
    for (const table of ["Documents", "Processing_Status", "Outbox", "Deletions"]) {
      assert.equal(
        await app.app.database.first(`SELECT doc_id FROM ${table} WHERE doc_id = @doc_id`, {
          doc_id,
        }),
        undefined,
        table,
      );
    }
    const log = await app.app.database.first<{ user_id: number; details: string }>(
      "SELECT user_id, details FROM Logs WHERE action_type = 'document_delete' AND entity_id = @doc_id",
      { doc_id },
    );
    assert.equal(log?.user_id, (await app.as("admin")).id);
    assert.equal(JSON.parse(log?.details ?? "").filename, "leaving.txt");
    // The name is free again.
    await upload(app, "leaving.txt");
  });

  testAlone(
    "a document that an unknown table references stays whole, and a 409 says so",
    {},
    async (app) => {
      const { doc_id, path } = await upload(app, "referenced.txt");
      const { database, storage } = app.app;
      await database.run(
        `CREATE TABLE Platform_Notes (note_id INT NOT NULL PRIMARY KEY,
       doc_id BIGINT NOT NULL REFERENCES Documents (doc_id))`,
      );
      await database.run("INSERT INTO Platform_Notes (note_id, doc_id) VALUES (1, @doc_id)", {
        doc_id,
      });
      const at = `DELETE /api/v1/docs/${doc_id}?force=true`;
      await play(app, {
        title: "referenced",
        at,
        ...admin,
        status: 409,
        detail: "Cannot delete this document: rows of another table still reference it.",
      });
      assert.equal(await storage.exists(path), true);
      const { body } = await app.call("GET", `/api/v1/docs/${doc_id}`, user);
      assert.deepEqual([body.status, body.stages.length], ["Queued", 1]);
      await database.run("DELETE FROM Platform_Notes");
      await play(app, { title: "free", at, ...admin, status: 200 });
      assert.equal(await storage.exists(path), false);
      await database.run("DROP TABLE Platform_Notes");
    },
  );

  test("of ten that delete a document at once, one does", async (app) => {
    const { doc_id } = await upload(app, "wanted-dead.txt");
    const answers = await Promise.all(
      Array.from({ length: 10 }, () =>
        app.call("DELETE", `/api/v1/docs/${doc_id}?force=true`, admin),
      ),
    );
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, ...Array(9).fill(404)]);
  });

  testAlone(
    "with the storage down a deletion is still a 200, and remembered for later",
    {},
    async (app, t) => {
      const { doc_id, path } = await upload(app, "stuck.txt");
      const down = t.mock.method(app.app.storage, "delete", () =>
        Promise.reject(new Error("storage is down")),
      );
      await play(app, {
        title: "deletes",
        at: `DELETE /api/v1/docs/${doc_id}?force=true`,
        ...admin,
        status: 200,
      });
      await play(app, {
        title: "is gone",
        at: `GET /api/v1/docs/${doc_id}`,
        ...admin,
        status: 404,
      });
      assert.ok(
        await app.app.database.first("SELECT doc_id FROM Deletions WHERE doc_id = @doc_id", {
          doc_id,
        }),
      );
      down.mock.restore();
      assert.equal(await app.app.storage.exists(path), true);
    },
  );
}

test("what could not be removed is removed when the server starts again", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-restart-"));
  let running = await startTestApp({ folder });
  t.after(async () => {
    await running.close();
    await rm(folder, { recursive: true });
  });
  const first = running;
  const [plain, moved] = [await upload(first, "plain.txt"), await upload(first, "moved.txt")];
  await move(first, moved.doc_id, moved.path, "letters/moved.txt");
  t.mock.method(first.app.storage, "delete", () => Promise.reject(new Error("storage is down")));
  for (const { doc_id } of [plain, moved]) {
    const at = `/api/v1/docs/${doc_id}?force=true`;
    assert.equal((await first.call("DELETE", at, admin)).status, 200);
  }
  assert.equal((await first.app.storage.list("")).length, 2);
  await first.close();

  running = await startTestApp({ folder });
  const { database, storage, content } = running.app;
  await until(
    async () => !(await database.first("SELECT deletion_id FROM Deletions")),
    "the deletions that were due",
  );
  assert.deepEqual(await storage.list(""), []);
  assert.equal(await content.get(moved.doc_id), undefined);
});
