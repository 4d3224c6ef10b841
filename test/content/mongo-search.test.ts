import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { BSON } from "mongodb";
import type { ExtractedText } from "../../src/content/content-store.ts";
import { MongoContentStore } from "../../src/content/mongo.ts";
import { parseSearch } from "../../src/content/search-terms.ts";
import { AppError } from "../../src/errors.ts";
import { createLogger } from "../../src/log.ts";
import { startMongoPeer } from "./mongo-peer.ts";

const COLLECTION = "sdmsdb.ocr_results";
const OWNER = 3;

const TEXT: ExtractedText = {
  doc_id: 7,
  filename: "a.pdf",
  file_type: "pdf",
  blob_path: "a/a.pdf",
  extracted_text: "first words",
  ocr: {
    page_count: 1,
    word_count: 1,
    avg_confidence: 1,
    primary_language: "en",
    elapsed_seconds: 0.25,
  },
  classification: null,
  processed_at: new Date(0),
};

async function withPeer(t: TestContext) {
  const peer = await startMongoPeer();
  t.after(() => peer.stop());
  const lines: string[] = [];
  const log = createLogger({ level: "debug", readable: false, write: (line) => lines.push(line) });
  const url = `mongodb://127.0.0.1:${peer.port}/?retrywrites=false`;
  const store = new MongoContentStore({ url, database: "sdmsdb", log });
  t.after(() => store.close());
  const found = async (q: string) => {
    const { hits } = await store.search(parseSearch(q), OWNER, { skip: 0, limit: 10 });
    return hits.map((hit) => hit.docId);
  };
  const documents = () =>
    (peer.collections.get(COLLECTION) ?? []).map((bytes) => BSON.deserialize(bytes));
  /** What another worker does: an upsert with `$set`, or an insert. */
  const write = (changes: Partial<ExtractedText>, way: "set" | "insert") => {
    const [stored] = documents();
    const next =
      way === "set"
        ? [{ ...stored, ...changes }]
        : [stored, { ...TEXT, ...changes, _id: newest() }];
    peer.collections.set(
      COLLECTION,
      next.map((doc) => BSON.serialize(doc as BSON.Document)),
    );
  };
  return { peer, store, lines, found, documents, write };
}

const newest = () => new BSON.ObjectId("f".repeat(24));

test("the fields of a search stand in one sub-document, which get does not show", async (t) => {
  const { store, documents } = await withPeer(t);
  await store.put({ ...TEXT, filename: "Résumé.pdf", extracted_text: "مُحاسبة" }, OWNER);
  assert.deepEqual(documents()[0]?.nassaq, {
    owner_id: OWNER,
    folded: " resume pdf \n محاسبه ",
    processed_at: TEXT.processed_at,
  });
  assert.ok(!("nassaq" in ((await store.get(7)) ?? {})));
});

test("its indexes are one of texts without a language, and two for the texts of others", async (t) => {
  const { peer, store, found } = await withPeer(t);
  await store.connect();
  await found("words");
  await found("words");
  const made = peer.indexes.get(COLLECTION)?.filter(({ name }) => name !== "doc_id_1");
  assert.deepEqual(
    made?.map(({ key, default_language, language_override }) => [
      key,
      default_language,
      language_override,
    ]),
    [
      [{ "nassaq.folded": "text" }, "none", "nassaq_language"],
      [{ "nassaq.owner_id": 1 }, undefined, undefined],
      [{ processed_at: 1 }, undefined, undefined],
    ],
  );
  assert.equal(peer.commands.filter((name) => name === "createIndexes").length, 2);
});

for (const way of ["set", "insert"] as const) {
  test(`a text that another worker replaces (${way}) is found by its new words only, once indexed`, async (t) => {
    const { store, found, documents, write } = await withPeer(t);
    await store.put(TEXT, OWNER);
    assert.deepEqual(await found("first"), [7]);
    assert.deepEqual(await store.listUnindexed(10), []);
    write({ extracted_text: "second words", processed_at: new Date() }, way);
    assert.deepEqual(await found("first"), []);
    assert.deepEqual(await found("second"), []);
    assert.deepEqual(await store.listUnindexed(10), [7]);
    await store.index(7, OWNER);
    assert.deepEqual(await store.listUnindexed(10), []);
    assert.deepEqual(await found("first"), []);
    assert.deepEqual(await found("second"), [7]);
    assert.deepEqual(await found("fi*"), []);
    assert.equal(documents().length, way === "set" ? 1 : 2);
  });
}

test("a text that a worker wrote half is indexed as far as it goes", async (t) => {
  const { peer, store, found } = await withPeer(t);
  const half = { doc_id: 7, filename: "half.pdf", extracted_text: null };
  peer.collections.set(COLLECTION, [BSON.serialize(half)]);
  assert.deepEqual(await store.listUnindexed(10), [7]);
  await store.index(7, OWNER);
  assert.deepEqual(await store.listUnindexed(10), []);
  assert.deepEqual(await found("half"), [7]);
});

test("odd fields of what others wrote keep no text from its search", async (t) => {
  const { peer, store, found, documents } = await withPeer(t);
  const odd = [
    { extracted_text: "of no document" },
    { doc_id: "7", extracted_text: "of no document" },
    { doc_id: 8, filename: 8, extracted_text: ["a", "list"] },
    { doc_id: 9, filename: null, extracted_text: "needle", processed_at: "2026-11-30" },
    { doc_id: BSON.Long.fromNumber(10), filename: "needle", extracted_text: "" },
  ];
  peer.collections.set(
    COLLECTION,
    odd.map((doc) => BSON.serialize({ _id: new BSON.ObjectId(), ...doc })),
  );
  assert.deepEqual(await store.listUnindexed(10), [8, 9, 10]);
  for (const docId of [8, 9, 10]) await store.index(docId, OWNER);
  assert.deepEqual(await store.listUnindexed(10), []);
  assert.deepEqual((await found("needle")).sort(), [10, 9]);
  const [, , , dated] = documents();
  const replaced = { ...dated, extracted_text: "thread", processed_at: "2026-12-01" };
  peer.collections.set(COLLECTION, [BSON.serialize(replaced)]);
  assert.deepEqual(await store.listUnindexed(10), [9]);
  await store.index(9, OWNER);
  assert.deepEqual(await found("thread"), [9]);
});

test("no folded text makes a document larger than MongoDB takes", async (t) => {
  const { peer, store, documents } = await withPeer(t);
  const huge = { ...TEXT, extracted_text: "x".repeat(16_000_000) };
  peer.collections.set(COLLECTION, [BSON.serialize(huge)]);
  await store.index(7, OWNER);
  assert.ok(peer.collections.get(COLLECTION)?.every((bytes) => bytes.length < 2 ** 24));
  assert.match(documents()[0]?.nassaq.folded, /^ a pdf \n x/);
});

test("a text that is replaced while it is folded stays unindexed", async (t) => {
  const { peer, store, found, write } = await withPeer(t);
  await store.put(TEXT);
  const { push } = peer.commands;
  peer.commands.push = (...names) => {
    if (names.includes("update"))
      write({ extracted_text: "second", processed_at: new Date() }, "set");
    return push.apply(peer.commands, names);
  };
  await store.index(7, OWNER);
  peer.commands.push = push;
  assert.deepEqual(await found("first"), []);
  assert.deepEqual(await store.listUnindexed(10), [7]);
});

test("a server without a text index says so to who searches, and does all else", async (t) => {
  for (const code of [115, 67, 72, 2, 13, 59]) {
    const { peer, store, lines, found, documents } = await withPeer(t);
    // The first one is the index on doc_id.
    await store.put(TEXT);
    peer.failures.push({ command: "createIndexes", reply: { ok: 0, code, errmsg: "no text" } });
    for (const q of ["first", "fi*"])
      await assert.rejects(
        found(q),
        (error) => error instanceof AppError && error.code === "not_implemented",
      );
    await store.put({ ...TEXT, doc_id: 8 }, OWNER);
    assert.ok(documents().every((stored) => !("nassaq" in stored)));
    assert.deepEqual(await store.listUnindexed(10), []);
    await store.index(8, OWNER);
    assert.deepEqual(await store.get(8), { ...TEXT, doc_id: 8 });
    await store.delete(8);
    assert.equal(lines.filter((line) => line.includes("no text index")).length, 1);
  }
});

test("a server that can't be asked for its index is unavailable, and is asked again", async (t) => {
  const { peer, store, found } = await withPeer(t);
  await store.put(TEXT);
  for (const reply of [{ ok: 0, code: 10107, errmsg: "not primary" }, "hang up"] as const) {
    peer.failures.push({ command: "createIndexes", reply });
    await assert.rejects(
      found("first"),
      (error) => error instanceof AppError && error.code === "unavailable",
    );
  }
  await store.index(7, OWNER);
  assert.deepEqual(await found("first"), [7]);
});
