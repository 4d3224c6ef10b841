import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { EmbeddedContentStore } from "../../src/content/embedded.ts";
import { parseSearch } from "../../src/content/search-terms.ts";
import { openSqlite } from "../../src/data/sqlite.ts";
import { textOf } from "../support/texts.ts";

const FIRST = { skip: 0, limit: 10 };
async function open(t: TestContext) {
  const database = openSqlite({ file: ":memory:" });
  t.after(() => database.close());
  const store = new EmbeddedContentStore(database);
  const entries = async () =>
    (await database.first<{ n: number }>("SELECT COUNT(*) AS n FROM Extracted_Text_Index_docsize"))
      ?.n;
  return { database, store, entries };
}

test("texts of an older version's table are kept, and wait to be indexed", async (t) => {
  const { database, store } = await open(t);
  await database.run(
    `CREATE TABLE Extracted_Texts (
      doc_id BIGINT NOT NULL PRIMARY KEY, content_id VARCHAR(36) NOT NULL UNIQUE,
      filename NVARCHAR(255) NOT NULL, file_type VARCHAR(10) NOT NULL,
      blob_path NVARCHAR(2000) NOT NULL, extracted_text NVARCHAR(4000) NOT NULL,
      ocr NVARCHAR(4000) NOT NULL, classification NVARCHAR(4000) NOT NULL,
      processed_at DATETIME2(3) NOT NULL
    )`,
  );
  await database.run(
    `INSERT INTO Extracted_Texts VALUES (5, 'id', 'a.pdf', 'pdf', 'a.pdf', 'old words',
       '${JSON.stringify(textOf(5).ocr)}', 'null', '1970-01-01T00:00:00.000Z')`,
  );
  await Promise.all([store.connect(), new EmbeddedContentStore(database).connect()]);
  assert.deepEqual(structuredClone(await store.get(5)), textOf(5, { extracted_text: "old words" }));
  assert.deepEqual(await store.listUnindexed(10), [5]);
  await store.index(5, 3);
  assert.equal((await store.search(parseSearch("old"), 3, FIRST)).total, 1);
});

test("nothing stays in the index of what is deleted, replaced or made nobody's", async (t) => {
  const { store, entries } = await open(t);
  await store.connect();
  for (const docId of [1, 2, 3]) await store.put(textOf(docId, { extracted_text: "words" }), 3);
  assert.equal(await entries(), 3);
  await store.delete(1);
  await store.put(textOf(2, { extracted_text: "others" }));
  await store.index(3, undefined);
  assert.equal(await entries(), 0);
  await store.index(2, 4);
  await store.index(2, 5);
  await store.put(textOf(2, { extracted_text: "again" }), 5);
  assert.equal(await entries(), 1);
});

test("the ranges of owners do not overlap, whatever the ids", async (t) => {
  const { store } = await open(t);
  await store.connect();
  const [lastOwner, lastDoc] = [2 ** 31 - 1, 2 ** 32 - 1];
  await store.put(textOf(lastDoc, { extracted_text: "edge" }), 1);
  await store.put(textOf(1, { extracted_text: "edge" }), 2);
  await store.put(textOf(lastDoc - 1, { extracted_text: "edge" }), lastOwner);
  const found = async (owner?: number) =>
    (await store.search(parseSearch("edge"), owner, FIRST)).hits.map((hit) => hit.docId);
  assert.deepEqual(await found(1), [lastDoc]);
  assert.deepEqual(await found(2), [1]);
  assert.deepEqual(await found(lastOwner), [lastDoc - 1]);
  assert.deepEqual(await found(), [lastDoc, lastDoc - 1, 1]);
});

test("counts to 10,000, and says when there are more", async (t) => {
  const { database, store } = await open(t);
  await store.connect();
  const put = (first: number, last: number) =>
    database.transaction(async (tx) => {
      const bulk = new EmbeddedContentStore({ ...database, transaction: (work) => work(tx) });
      for (let docId = first; docId <= last; docId++)
        await bulk.put(textOf(docId, { extracted_text: "many" }), 3);
    });
  await put(1, 10_000);
  const exact = await store.search(parseSearch("many"), 3, { skip: 9_995, limit: 10 });
  assert.deepEqual([exact.total, exact.isExact], [10_000, true]);
  assert.deepEqual(
    exact.hits.map((hit) => hit.docId),
    [5, 4, 3, 2, 1],
  );
  await put(10_001, 10_001);
  for (const owner of [3, undefined]) {
    const { total, isExact, hits } = await store.search(parseSearch("many"), owner, FIRST);
    assert.deepEqual([total, isExact, hits[0]?.docId], [10_000, false, 10_001]);
  }
});
