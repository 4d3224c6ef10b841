import assert from "node:assert/strict";
import { insertPath } from "../../src/data/paths.ts";
import { apiSuite, type Suite, type TestApp } from "../support/app.ts";
import { play, type Scenario, scenarios } from "./scenarios.ts";

const CREATE = "POST /api/v1/paths/";
const admin = { as: "admin" } as const;

const create = async (app: TestApp, full_path: string, description?: string | null) => {
  const json = description === undefined ? { full_path } : { full_path, description };
  return (await play(app, { title: full_path, at: CREATE, ...admin, json, status: 201 })).body;
};
const rename = (app: TestApp, id: number, full_path: string) =>
  app.call("PATCH", `/api/v1/paths/${id}`, { ...admin, json: { full_path } });
const namesBelow = async (app: TestApp, prefix: string): Promise<string[]> => {
  const query = new URLSearchParams({ prefix, maxDepth: "30" });
  const { body } = await play(app, {
    title: prefix,
    at: `GET /api/v1/paths/?${query}`,
    as: "user",
    status: 200,
  });
  return body.map(({ full_path }: { full_path: string }) => full_path);
};
const upload = async (app: TestApp, full_path: string, filename: string) => {
  const multipart = [
    { name: "full_path", value: full_path },
    { name: "file", filename, data: `bytes of ${filename}` },
  ];
  return (
    await play(app, {
      title: filename,
      at: "POST /api/v1/docs/upload",
      as: "user",
      multipart,
      status: 201,
    })
  ).body;
};

const BAD_PATHS: [title: string, full_path: unknown][] = [
  ["an empty segment", "a//b"],
  ["two leading slashes", "//a"],
  ["two trailing slashes", "a//"],
  ["only slashes", "//"],
  ["only more slashes", "///"],
  ["a dot", "a/./b"],
  ["two dots", "a/../b"],
  ["only dots", ".."],
  ["a backslash", "a\\b"],
  ["a line feed", "a\nb"],
  ["a NUL", "a\u0000b"],
  ["a C1 control", "a\u0085b"],
  ["half a character", "a\ud800b"],
  ["501 characters", "x".repeat(501)],
  ["a number", 7],
  ["null", null],
  ["a list", ["a"]],
];

const rows: Scenario[] = [
  {
    title: "no such path",
    at: "GET /api/v1/paths/2000000000",
    as: "user",
    status: 404,
    detail: "Path not found.",
  },
  {
    title: "no id",
    at: "GET /api/v1/paths/-1",
    as: "user",
    status: 422,
    issues: ["regex path.path_id"],
  },
  ...BAD_PATHS.map(([title, full_path]) => ({
    title,
    at: CREATE,
    ...admin,
    json: { full_path },
    status: 422,
  })),
  ...BAD_PATHS.map(([title, full_path]) => ({
    title,
    at: "PATCH /api/v1/paths/1",
    ...admin,
    json: { full_path },
    status: 422,
  })),
  {
    title: "no path",
    at: CREATE,
    ...admin,
    json: {},
    status: 422,
    issues: ["missing body.full_path"],
  },
  {
    title: "a depth",
    at: CREATE,
    ...admin,
    json: { full_path: "a", depth: 7 },
    status: 422,
    issues: ["extra_forbidden body.depth"],
  },
  {
    title: "a number as description",
    at: CREATE,
    ...admin,
    json: { full_path: "a", description: 7 },
    status: 422,
    issues: ["string body.description"],
  },
  {
    title: "the root, which exists",
    at: CREATE,
    ...admin,
    json: { full_path: "/" },
    status: 409,
    detail: "Path '/' already exists.",
  },
  {
    title: "the root by another name",
    at: CREATE,
    ...admin,
    json: { full_path: "" },
    status: 409,
    detail: "Path '/' already exists.",
  },
  {
    title: "the root's name",
    at: "PATCH /api/v1/paths/1",
    ...admin,
    json: { full_path: "elsewhere" },
    status: 400,
  },
  {
    title: "nothing",
    at: "PATCH /api/v1/paths/1",
    ...admin,
    json: {},
    status: 400,
    detail: "No fields to update",
  },
  {
    title: "nothing there",
    at: "PATCH /api/v1/paths/999999",
    ...admin,
    json: { full_path: "a" },
    status: 404,
  },
  { title: "the root", at: "DELETE /api/v1/paths/1", ...admin, status: 400 },
  { title: "nothing there", at: "DELETE /api/v1/paths/999999", ...admin, status: 404 },
  {
    title: "no id",
    at: "DELETE /api/v1/paths/0",
    ...admin,
    status: 422,
    issues: ["regex path.path_id"],
  },
  ...[
    "minDepth=-1",
    "minDepth=11",
    "maxDepth=0",
    "maxDepth=31",
    "minDepth=x",
    "maxDepth=",
    "minDepth=1&minDepth=2",
    "prefix=a&prefix=b",
    "prefix=%ED%A0%80",
    `prefix=${"x".repeat(501)}`,
  ].map((query) => ({
    title: "out of range",
    at: `GET /api/v1/paths/?${query}`,
    as: "user" as const,
    status: query.includes("%ED") ? 400 : 422,
  })),
  ...["minDepth=0&maxDepth=30", "minDepth=10", "maxDepth=1", "prefix=", "prefix=/"].map(
    (query) => ({
      title: "in range",
      at: `GET /api/v1/paths/?${query}`,
      as: "user" as const,
      status: 200,
    }),
  ),
];

apiSuite("virtual paths", (suite) => {
  scenarios(suite, rows);
  creation(suite);
  lists(suite);
  renaming(suite);
  deletion(suite);
});

function creation({ test }: Suite): void {
  test("a new path is where its location says, for every active user", async (app) => {
    const json = { full_path: "located/here", description: "found" };
    const made = await app.call("POST", "/api/v1/paths", { ...admin, json });
    const at = made.headers.get("location") ?? "";
    assert.equal(at, `/api/v1/paths/${made.body.id}`);
    const title = "the new one";
    const read = await play(app, { title, at: `GET ${at}`, as: "user", status: 200 });
    assert.deepEqual(read.body, made.body);
  });

  test("a path is kept in its canonical form, whatever its script", async (app) => {
    for (const [sent, kept, depth] of [
      ["/Finance/2026/", "Finance/2026", 2],
      ["plain", "plain", 1],
      ["/أرشيف/رسائل", "أرشيف/رسائل", 2],
      ["cafe\u0301", "café", 1],
      ["with blanks/a.b/c d", "with blanks/a.b/c d", 3],
      ["...", "...", 1],
      ["100%/[x]/under_score", "100%/[x]/under_score", 3],
      ["y".repeat(500), "y".repeat(500), 1],
    ] as const) {
      const body = await create(app, sent);
      assert.deepEqual([body.full_path, body.depth, body.description], [kept, depth, null]);
      assert.match(body.created_at, /Z$/);
      assert.deepEqual(Object.keys(body).sort(), [
        "created_at",
        "depth",
        "description",
        "full_path",
        "id",
      ]);
    }
  });

  test("a path exists once, in any spelling and case", async (app) => {
    await create(app, "Once/Only", "kept");
    for (const full_path of ["Once/Only", "/Once/Only/", "once/ONLY"]) {
      const canonical = full_path.replace(/^\/|\/$/g, "");
      await play(app, {
        title: "again",
        at: CREATE,
        ...admin,
        json: { full_path },
        status: 409,
        detail: `Path '${canonical}' already exists.`,
      });
    }
    const answers = await Promise.all(
      Array.from({ length: 10 }, () =>
        app.call("POST", "/api/v1/paths", { ...admin, json: { full_path: "raced" } }),
      ),
    );
    assert.deepEqual(answers.map(({ status }) => status).sort(), [201, ...Array(9).fill(409)]);
  });

  test("what an admin does to paths is in the audit trail", async (app) => {
    const { id } = await create(app, "audited", "first");
    await app.call("PATCH", `/api/v1/paths/${id}`, {
      ...admin,
      json: { full_path: "audited-too", description: null },
    });
    await app.call("DELETE", `/api/v1/paths/${id}`, admin);
    const logs = await app.app.database.all<{ action: string; user_id: number }>(
      "SELECT action_type AS action, user_id FROM Logs WHERE entity_id = @id AND action_type LIKE 'path%' ORDER BY log_id",
      { id },
    );
    const by = (await app.as("admin")).id;
    assert.deepEqual(
      logs,
      ["path_create", "path_update", "path_delete"].map((action) => ({ action, user_id: by })),
    );
  });
}

function lists({ test, testAlone }: Suite): void {
  testAlone("the list is by name, within depths, five deep unless told", {}, async (app) => {
    for (const path of ["b", "a/x", "a", "a/x/1/2/3", "a/x/1/2/3/4", "c"]) await create(app, path);
    const list = async (query: string) => {
      const { body } = await play(app, {
        title: query,
        at: `GET /api/v1/paths${query}`,
        as: "user",
        status: 200,
      });
      return body.map(({ full_path }: { full_path: string }) => full_path);
    };
    assert.deepEqual(await list(""), ["/", "a", "a/x", "a/x/1/2/3", "b", "c"]);
    assert.deepEqual(await list("?minDepth=1&maxDepth=1"), ["a", "b", "c"]);
    assert.deepEqual(await list("?minDepth=2&maxDepth=30"), ["a/x", "a/x/1/2/3", "a/x/1/2/3/4"]);
    assert.deepEqual(await list("?minDepth=3&maxDepth=2"), []);
    assert.deepEqual(await list("?prefix=/a/x/1"), ["a/x/1/2/3"]);
    for (const [window, found] of [
      ["?skip=4", ["b", "c"]],
      ["?skip=1&limit=2", ["a", "a/x"]],
      ["?skip=6&limit=1", []],
    ] as const) {
      const { body, headers } = await app.call("GET", `/api/v1/paths${window}`, { as: "user" });
      assert.deepEqual(
        body.map(({ full_path }: { full_path: string }) => full_path),
        found,
      );
      assert.equal(headers.get("x-total-count"), "6");
    }
  });

  testAlone("a long list is whole, and in order", {}, async (app) => {
    const createdAt = new Date();
    const names = Array.from({ length: 2_500 }, (_, at) => `p${10_000 + at}`);
    await app.app.database.transaction(async (tx) => {
      for (const fullPath of names)
        await insertPath(tx, { fullPath, description: null, depth: 1, createdAt });
    });
    const { body } = await app.call("GET", "/api/v1/paths", { as: "user" });
    assert.deepEqual(
      body.map(({ full_path }: { full_path: string }) => full_path),
      ["/", ...names],
    );
  });

  test("a prefix is literal", async (app) => {
    for (const path of ["50%", "500", "a_c", "abc", "[ab]", "b", "q[1", "back"])
      await create(app, `literal-${path}`);
    for (const [prefix, found] of [
      ["literal-50%", ["literal-50%"]],
      ["literal-a_", ["literal-a_c"]],
      ["literal-[ab]", ["literal-[ab]"]],
      ["literal-q[", ["literal-q[1"]],
      ["/literal-50", ["literal-50%", "literal-500"]],
      ["literal-%", []],
      ["' OR 1=1", []],
    ] as const) {
      assert.deepEqual(await namesBelow(app, prefix), found, prefix);
    }
  });
}

function renaming({ test, testAlone }: Suite): void {
  test("a rename takes everything below along, and what only looks alike stays", async (app) => {
    const { id } = await create(app, "old_%", "kept");
    for (const path of ["old_%/a", "old_%/a/b", "old_%x", "oldX%/a"]) await create(app, path);
    const { body, status } = await rename(app, id, "/new/home/");
    assert.deepEqual(
      [status, body.full_path, body.depth, body.description],
      [200, "new/home", 2, "kept"],
    );
    assert.deepEqual(await namesBelow(app, "new/home"), ["new/home", "new/home/a", "new/home/a/b"]);
    assert.deepEqual(new Set(await namesBelow(app, "old")), new Set(["old_%x", "oldX%/a"]));
    const { body: all } = await app.call("GET", "/api/v1/paths?prefix=new/home/a/b", {
      as: "user",
    });
    assert.equal(all[0].depth, 4);
  });

  test("a path moves into itself and out again", async (app) => {
    const { id } = await create(app, "self");
    for (const path of ["self/x", "self/x/y"]) await create(app, path);
    assert.equal((await rename(app, id, "self/self")).status, 200);
    assert.deepEqual(await namesBelow(app, "self"), ["self/self", "self/self/x", "self/self/x/y"]);
    assert.equal((await rename(app, id, "self")).status, 200);
    assert.deepEqual(await namesBelow(app, "self"), ["self", "self/x", "self/x/y"]);
  });

  test("a path moves up to where its parent was, past children of the same name", async (app) => {
    const { id } = await create(app, "up/up");
    for (const path of ["up/up/up", "up/up/up/up"]) await create(app, path);
    assert.equal((await rename(app, id, "up")).status, 200);
    assert.deepEqual(await namesBelow(app, "up"), ["up", "up/up", "up/up/up"]);
    assert.equal((await rename(app, id, "up/up")).status, 409);
  });

  test("a rename to what exists is refused, and changes nothing", async (app) => {
    const { id } = await create(app, "mine");
    for (const path of ["mine/x", "mine/y", "taken", "half/y"]) await create(app, path);
    const answer = await rename(app, id, "TAKEN");
    assert.deepEqual([answer.status, answer.body.detail], [409, "Path 'TAKEN' already exists."]);
    assert.equal((await rename(app, id, "half")).status, 409);
    assert.deepEqual(await namesBelow(app, "mine"), ["mine", "mine/x", "mine/y"]);
    assert.deepEqual(await namesBelow(app, "half"), ["half/y"]);
  });

  test("to another case, to itself, or without the name: fine", async (app) => {
    const { id } = await create(app, "case", "one");
    await create(app, "case/below");
    assert.equal((await rename(app, id, "CASE")).body.full_path, "CASE");
    assert.deepEqual(await namesBelow(app, "CASE"), ["CASE", "CASE/below"]);
    assert.equal((await rename(app, id, "/CASE/")).status, 200);
    const at = `PATCH /api/v1/paths/${id}`;
    await play(app, {
      title: "describes",
      at,
      ...admin,
      json: { description: "two" },
      status: 200,
      has: { full_path: "CASE", description: "two" },
    });
    await play(app, {
      title: "describes",
      at,
      ...admin,
      json: { description: null },
      status: 200,
      has: { description: null },
    });
    await play(app, {
      title: "the root's description",
      at: "PATCH /api/v1/paths/1",
      ...admin,
      json: { description: "all" },
      status: 200,
    });
  });

  test("a rename that would make a path below it too long is refused", async (app) => {
    const { id } = await create(app, "long");
    await create(app, `long/${"z".repeat(495)}`);
    assert.equal((await rename(app, id, "longer")).status, 422);
    assert.equal((await namesBelow(app, "long")).length, 2);
  });

  test("documents stay where they are and come back after a rename", async (app) => {
    const { id } = await create(app, "shelf");
    await create(app, "shelf/below");
    const { doc_id } = await upload(app, "shelf/below", "kept.txt");
    await rename(app, id, "other shelf");
    const { body } = await app.call("GET", `/api/v1/docs/${doc_id}`, { as: "user" });
    assert.equal(body.path, "other shelf/below");
    const { bytes } = await app.call("GET", `/api/v1/docs/${doc_id}/download`, { as: "user" });
    assert.equal(bytes.toString(), "bytes of kept.txt");
  });

  testAlone("of many renames at once each is whole", {}, async (app) => {
    const { id } = await create(app, "r");
    for (const path of ["r/a", "r/b", "r/a/c"]) await create(app, path);
    const targets = Array.from({ length: 6 }, (_, i) => `target${i}`);
    const answers = await Promise.all(targets.map((target) => rename(app, id, target)));
    assert.deepEqual(
      answers.map(({ status }) => status),
      Array(6).fill(200),
    );
    const [top = "", ...below] = await namesBelow(app, "target");
    assert.deepEqual(below, [`${top}/a`, `${top}/a/c`, `${top}/b`]);
  });
}

function deletion({ test }: Suite): void {
  test("a path goes when nothing references it", async (app) => {
    const { id } = await create(app, "going");
    const below = await create(app, "going/below");
    const at = `DELETE /api/v1/paths/${id}`;
    const kept = await play(app, { title: "with paths below", at, ...admin, status: 400 });
    assert.match(kept.body.detail, /deeper paths/);
    await play(app, {
      title: "the lower one",
      at: `DELETE /api/v1/paths/${below.id}`,
      ...admin,
      status: 204,
    });
    const { doc_id } = await upload(app, "going", "in-the-way.txt");
    assert.match(
      (await play(app, { title: "with documents", at, ...admin, status: 400 })).body.detail,
      /documents/,
    );
    await app.call("DELETE", `/api/v1/docs/${doc_id}?force=true`, admin);
    assert.equal((await play(app, { title: "empty", at, ...admin, status: 204 })).bytes.length, 0);
    await play(app, { title: "twice", at, ...admin, status: 404 });
  });
}
