import assert from "node:assert/strict";
import { test } from "node:test";
import { EmbeddedContentStore } from "../../src/content/embedded.ts";
import { parseSearch } from "../../src/content/search-terms.ts";
import { insertDocument } from "../../src/data/documents.ts";
import { openSqlite } from "../../src/data/sqlite.ts";
import { insertUser } from "../../src/data/users.ts";
import { indexTexts } from "../../src/domain/indexing.ts";
import { textOf } from "../support/texts.ts";

const ALL = { skip: 0, limit: 1 };

async function storeWithTexts(count: number) {
  const database = openSqlite({ file: ":memory:" });
  await database.migrate();
  const content = new EmbeddedContentStore(database);
  await content.connect();
  const root = await database.first<{ path_id: number }>("SELECT path_id FROM Virtual_Paths");
  const owner = await insertUser(database, {
    fullName: "Any One",
    email: "a@example.com",
    username: "anyone",
    passwordHash: "",
    roleId: null,
    isActive: true,
    createdAt: new Date(),
  });
  const docIds: number[] = [];
  for (let index = 0; index < count; index++) {
    const document = {
      filename: `${index}.pdf`,
      pathId: root?.path_id ?? 0,
      uploadedByUserId: owner,
      uploadedAt: new Date(),
      fileSize: 1,
      fileType: "pdf",
      contentType: null,
      description: null,
      sha256: null,
      blobKey: null,
    };
    docIds.push(await insertDocument(database, document, []));
  }
  const put = (docId: number) => content.put(textOf(docId, { extracted_text: "needle" }));
  for (const docId of docIds) await put(docId);
  return { database, content, owner, put, docIds };
}

test("texts that other programs wrote become their owners', all of them, and those of nobody are left", async (t) => {
  const { database, content, owner, put, docIds } = await storeWithTexts(230);
  t.after(() => database.close());
  const gone = Math.max(...docIds) + 1;
  await put(gone);
  await indexTexts({ database, content }, new AbortController().signal);
  assert.deepEqual(await content.listUnindexed(100), []);
  const terms = parseSearch("needle");
  assert.equal((await content.search(terms, owner, ALL)).total, 230);
  assert.equal((await content.search(terms, undefined, ALL)).total, 230);
});

test("it stops when it is told, and where one text never keeps its owner", async (t) => {
  const { database, content } = await storeWithTexts(120);
  t.after(() => database.close());
  await indexTexts({ database, content }, AbortSignal.abort());
  assert.equal((await content.listUnindexed(200)).length, 120);
  let calls = 0;
  content.index = async () => void calls++;
  await indexTexts({ database, content }, new AbortController().signal);
  assert.equal(calls, 100);
});
