import assert from "node:assert/strict";
import { updateUser } from "../../src/data/users.ts";
import { AppError, unavailable } from "../../src/errors.ts";
import {
  apiSuite,
  type CallOptions,
  type Person,
  type Suite,
  type TestApp,
} from "../support/app.ts";
import { textOf, upload } from "./document-support.ts";
import { play, type Scenario, scenarios } from "./scenarios.ts";

const NOTHING = 999_999;
const user = { as: "user" } as const;

const search = (query: string) => `GET /api/v1/docs/search?${query}`;
const q = (text: string) => search(new URLSearchParams({ q: text }).toString());

const rows: Scenario[] = [
  {
    title: "nothing",
    at: `GET /api/v1/docs/${NOTHING}/content`,
    ...user,
    status: 404,
    detail: `Document with id ${NOTHING} not found.`,
  },
  {
    title: "no id",
    at: "GET /api/v1/docs/x/content",
    ...user,
    status: 422,
    issues: ["regex path.doc_id"],
  },
  { title: "no words", at: search(""), ...user, status: 422, issues: ["missing query.q"] },
  ...["", " ", "*", '""', '"*"', "!؟.", "ـ", "\u064b", "\u200f"].map((text) => ({
    title: "neither letter nor digit",
    at: q(text),
    ...user,
    status: 422,
    issues: ["check query.q"],
  })),
  {
    title: "too long",
    at: q("x".repeat(201)),
    ...user,
    status: 422,
    issues: ["max_length query.q"],
  },
  { title: "long", at: q("x".repeat(200)), ...user, status: 200, has: { total: 0, items: [] } },
  ...["limit=0", "limit=101", "limit=x", "skip=-1", "q=b", "limit=1&limit=2"].map((more) => ({
    title: "a bad query",
    at: search(`q=a&${more}`),
    ...user,
    status: 422,
  })),
];

apiSuite("texts", (suite) => {
  scenarios(suite, rows);
  contents(suite);
  finds(suite);
  hides(suite);
});

function contents({ test, testAlone }: Suite): void {
  const content = (docId: number) => `GET /api/v1/docs/${docId}/content`;

  test("a text is its owner's and the admins', and for others not there", async (app) => {
    const { doc_id, filename } = await upload(app);
    const missing = { title: "none", at: content(doc_id), status: 404 };
    await play(app, { ...missing, ...user, detail: `Document with id ${doc_id} has no text yet.` });
    await app.app.content.put(textOf(doc_id, "Dear colleagues,\n\u0000أعزائي"));
    const detail = `Document with id ${doc_id} not found.`;
    await play(app, { ...missing, as: "other", detail });
    for (const as of ["user", "admin"] as const) {
      const { body } = await play(app, { title: as, at: content(doc_id), as, status: 200 });
      assert.deepEqual(body, {
        doc_id,
        // The document's, not the one that the worker was told.
        filename,
        file_type: "txt",
        extracted_text: "Dear colleagues,\n\u0000أعزائي",
        ocr: {
          page_count: 1,
          word_count: 3,
          avg_confidence: 0.5,
          primary_language: "en",
          elapsed_seconds: 0.25,
          cost_usd: null,
          chunks_used: null,
        },
        classification: null,
        processed_at: "2026-02-26T14:30:00.123Z",
      });
    }
    await app.app.database.run("DELETE FROM Processing_Status WHERE doc_id = @doc_id", { doc_id });
    await app.app.database.run("DELETE FROM Documents WHERE doc_id = @doc_id", { doc_id });
    await play(app, { ...missing, as: "admin", detail });
  });

  test("what another worker wrote is shown as far as it is known, and null where it is not", async (app) => {
    const { doc_id } = await upload(app);
    const classification = {
      category: "Letters",
      confidence: 0.75,
      reasoning: "It begins so.",
      tokens_used: 12,
      cost_usd: 0.0002,
      error: null,
    };
    const ocr = { page_count: 2, cost_usd: 0.0015, chunks_used: 3, internal: "never shown" };
    await app.app.content.put({
      ...textOf(doc_id, "text"),
      ocr,
      classification: { ...classification, prompt: "never shown" },
    } as never);
    const { body } = await play(app, { title: "more", at: content(doc_id), ...user, status: 200 });
    assert.deepEqual([body.classification, "blob_path" in body], [classification, false]);
    assert.deepEqual(body.ocr, {
      page_count: 2,
      word_count: null,
      avg_confidence: null,
      primary_language: null,
      elapsed_seconds: null,
      cost_usd: 0.0015,
      chunks_used: 3,
    });
  });

  testAlone("a text that lacks all that it may lack is still one", {}, async (app, t) => {
    const { doc_id } = await upload(app);
    const bare = { doc_id, processed_at: new Date("when?"), _id: 7, folded: "never shown" };
    t.mock.method(app.app.content, "get", async () => bare as never);
    const { body } = await play(app, { title: "bare", at: content(doc_id), ...user, status: 200 });
    const { file_type, extracted_text, classification, processed_at } = body;
    const absent = [file_type, extracted_text, classification, processed_at];
    assert.deepEqual([...absent, ...Object.values(body.ocr)], Array(4 + 7).fill(null));
    assert.equal(Object.keys(body).length, 7);
  });

  testAlone("with the text store away it is a 503", {}, async (app, t) => {
    const { doc_id } = await upload(app);
    t.mock.method(app.app.content, "get", async () => {
      throw unavailable("The content store");
    });
    await play(app, { title: "away", at: content(doc_id), ...user, status: 503 });
  });
}

/** A document with this text, that searches find. */
async function write(app: TestApp, text: string, as: "user" | "other" | Person = "user") {
  const document = await upload(app, "letter", as);
  const { id } = typeof as === "string" ? await app.as(as) : as;
  const { doc_id, filename } = document;
  await app.app.content.put(textOf(doc_id, text, { filename }), id);
  return document;
}

async function find(app: TestApp, text: string, as: CallOptions["as"] = "user", more = "") {
  const { body } = await play(app, { title: text, at: q(text) + more, as, status: 200 });
  const items: { doc_id: number; score: number }[] = body.items;
  return { body, total: body.total, ids: items.map(({ doc_id }) => doc_id) };
}

function finds({ test, testAlone }: Suite): void {
  test("an item is the list's, with its score and where the hits are", async (app) => {
    const { doc_id } = await write(app, "Dear zebra, the ZÈBRA of the zoo.");
    const list = (await app.call("GET", "/api/v1/docs/me?limit=100", user)).body.items;
    const [listed] = list.filter((item: { doc_id: number }) => item.doc_id === doc_id);
    const { body } = await find(app, "zebra");
    assert.deepEqual([Object.keys(body), body.total], [["total", "items"], 1]);
    const { score, snippet, ...item } = body.items[0];
    assert.deepEqual(item, listed);
    assert.ok(Number.isFinite(score));
    const marked = snippet.marks.map(([from, to]: [number, number]) =>
      snippet.text.slice(from, to),
    );
    assert.deepEqual(marked, ["zebra", "ZÈBRA"]);
  });

  test("an Arabic text is found however it is spelt, and a document by its name", async (app) => {
    const { doc_id, filename } = await write(app, "مُذَكِّرَةُ إيجارٍ لسنة ٢٠٢٦");
    for (const words of ["ايجار", "مذكره", "2026 إيجار", '"لسنة 2026"', "مذكر*"])
      assert.deepEqual((await find(app, words)).ids, [doc_id], words);
    assert.deepEqual((await find(app, filename)).ids, [doc_id]);
    assert.deepEqual((await find(app, "إيجار شهرية")).ids, []);
  });

  testAlone("pages neither repeat nor skip what was found", {}, async (app) => {
    const all = [];
    for (let i = 0; i < 7; i++) all.push((await write(app, `walrus ${"and ".repeat(i)}`)).doc_id);
    const seen: number[] = [];
    for (let skip = 0; skip < 9; skip += 3) {
      const { total, ids } = await find(app, "walrus", "user", `&skip=${skip}&limit=3`);
      assert.deepEqual([total, ids.length], [7, Math.min(3, 7 - skip)]);
      seen.push(...ids);
    }
    assert.deepEqual(seen.sort(), all.sort());
  });

  for (const [error, status] of [
    [new AppError("not_implemented", "This text store can't search."), 501],
    [unavailable("The content store"), 503],
  ] as const)
    testAlone(`a store that throws ${error.code} is a ${status}`, {}, async (app, t) => {
      t.mock.method(app.app.content, "search", async () => {
        throw error;
      });
      await play(app, { title: "no search", at: q("a"), ...user, status, detail: error.message });
    });

  testAlone("a total that is a lower bound says so", {}, async (app, t) => {
    const { doc_id: docId } = await upload(app);
    const hits = [{ docId, score: 1.5, snippet: { text: "a", marks: [[0, 1]] } }];
    const found = { total: 10_000, isExact: false, hits };
    t.mock.method(app.app.content, "search", async () => found as never);
    const { body } = await find(app, "a");
    assert.deepEqual([body.total, body.total_is_exact, body.items.length], [10_000, false, 1]);
  });
}

function hides({ testAlone }: Suite): void {
  testAlone("nobody finds or counts another's, but for an admin", {}, async (app) => {
    const mine = await write(app, "heron heron heron");
    const theirs = await write(app, "heron", "other");
    assert.deepEqual(await find(app, "heron").then(({ total, ids }) => [total, ids]), [
      1,
      [mine.doc_id],
    ]);
    assert.deepEqual((await find(app, "heron", "other")).ids, [theirs.doc_id]);
    const nobody = await find(app, "heron", await app.person());
    assert.deepEqual(nobody.body, { total: 0, items: [] });
    const all = await find(app, "heron", "admin");
    assert.deepEqual([all.total, all.ids.sort()], [2, [mine.doc_id, theirs.doc_id].sort()]);
    // Where the score comes from tells nothing of other texts.
    const score = (await find(app, "heron")).body.items[0].score;
    for (let i = 0; i < 5; i++) await write(app, "heron", "other");
    assert.equal((await find(app, "heron")).body.items[0].score, score);
  });

  testAlone("a demoted admin finds their own alone", {}, async (app) => {
    const person = await app.person({ roleId: 99 });
    const own = await write(app, "osprey", person);
    await write(app, "osprey", "user");
    assert.equal((await find(app, "osprey", person)).total, 2);
    await updateUser(app.app.database, person.id, { role_id: 1 });
    const { total, ids } = await find(app, "osprey", person);
    assert.deepEqual([total, ids], [1, [own.doc_id]]);
  });

  testAlone("a text without its document, or of a wrong owner, is left out", {}, async (app) => {
    const { database, content } = app.app;
    const kept = await write(app, "pelican");
    const gone = await write(app, "pelican");
    await database.run("DELETE FROM Processing_Status WHERE doc_id = @doc_id", gone as never);
    await database.run("DELETE FROM Documents WHERE doc_id = @doc_id", gone as never);
    const foreign = await upload(app, "letter", "other");
    await content.put(textOf(foreign.doc_id, "pelican"), (await app.as("user")).id);
    const found = await find(app, "pelican");
    assert.deepEqual([found.total, found.ids], [1, [kept.doc_id]]);
    const all = await find(app, "pelican", "admin");
    assert.deepEqual([all.total, all.ids.sort()], [2, [kept.doc_id, foreign.doc_id].sort()]);
  });

  testAlone("a deleted document is found no more", {}, async (app) => {
    const { doc_id } = await write(app, "flamingo");
    assert.equal((await find(app, "flamingo")).total, 1);
    await app.call("DELETE", `/api/v1/docs/${doc_id}?force=true`, { as: "admin" });
    assert.deepEqual((await find(app, "flamingo")).body, { total: 0, items: [] });
  });
}
