import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { MongoClient } from "mongodb";
import type { ContentStore, ExtractedText } from "../../src/content/content-store.ts";
import { EmbeddedContentStore } from "../../src/content/embedded.ts";
import { MongoContentStore } from "../../src/content/mongo.ts";
import { openSqlite } from "../../src/data/sqlite.ts";
import { createLogger } from "../../src/log.ts";
import { startMongoPeer } from "../content/mongo-peer.ts";
import { searchPromises } from "./content-search.ts";

/** With plain dates, whatever class an engine gives them. */
const read = async (store: ContentStore, docId: number) => structuredClone(await store.get(docId));

const silent = createLogger({ level: "error", readable: false, write: () => {} });

/** Opens a store on the same data each time that the function it returns is called; all is cleaned up after the test. */
type Opener = (t: TestContext) => Promise<() => ContentStore>;

async function embedded(t: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), "content-"));
  t.after(() => rm(folder, { recursive: true }));
  return () => {
    const database = openSqlite({ file: join(folder, "test.sqlite") });
    t.after(() => database.close());
    return new EmbeddedContentStore(database);
  };
}

async function mongoPeer(t: TestContext) {
  const peer = await startMongoPeer();
  t.after(() => peer.stop());
  const url = `mongodb://127.0.0.1:${peer.port}/`;
  return () => new MongoContentStore({ url, database: "sdmsdb", log: silent });
}

function mongoServer(url: string): Opener {
  return async (t) => {
    const database = `content_test_${randomUUID().slice(0, 8)}`;
    t.after(async () => {
      const client = new MongoClient(url);
      await client.db(database).dropDatabase();
      await client.close();
    });
    return () => new MongoContentStore({ url, database, log: silent });
  };
}

function textOf(docId: number, changes: Partial<ExtractedText> = {}): ExtractedText {
  return {
    doc_id: docId,
    filename: "تقرير 2026.pdf",
    file_type: "pdf",
    blob_path: "https://store.example/documents/1f/%D8%AA.pdf",
    extracted_text: "السطر الأول\nline two\t😀 'quoted' \"twice\" $where {a: 1} %_[",
    ocr: {
      page_count: 3,
      word_count: 12,
      avg_confidence: 0.9375,
      primary_language: "ar",
      elapsed_seconds: 1.5,
    },
    classification: { category: "invoice", confidence: 0.5 },
    processed_at: new Date("2026-02-26T14:30:00.123Z"),
    ...changes,
  };
}

function contract(name: string, open: Opener, options: { skip?: string } = {}) {
  describe(`content store, ${name}`, options, () => {
    const promise = (
      title: string,
      check: (store: ContentStore, another: () => ContentStore) => Promise<void>,
    ) =>
      test(title, async (t) => {
        const opener = await open(t);
        const stores: ContentStore[] = [];
        const another = () => {
          const store = opener();
          stores.push(store);
          return store;
        };
        try {
          const store = another();
          await store.connect();
          await check(store, another);
        } finally {
          for (const store of stores) await store.close();
        }
      });

    promise(
      "gives back what was put, to the letter, the number and the millisecond",
      async (store) => {
        await store.put(textOf(1));
        assert.deepEqual(await read(store, 1), textOf(1));
        const plain = textOf(2, { classification: null, extracted_text: "" });
        await store.put(plain);
        assert.deepEqual(await read(store, 2), plain);
        assert.deepEqual(await read(store, 1), textOf(1));
      },
    );

    promise("knows nothing of a document that was never put", async (store) => {
      assert.equal(await store.get(1), undefined);
      await store.put(textOf(1));
      assert.equal(await store.get(2), undefined);
    });

    promise(
      "returns an id of 1 to 36 characters that stays when the text is replaced",
      async (store) => {
        const id = await store.put(textOf(1));
        assert.match(id, /^[\w-]{1,36}$/);
        const replacement = textOf(1, {
          extracted_text: "new",
          filename: "new.pdf",
          classification: null,
        });
        assert.equal(await store.put(replacement), id);
        assert.deepEqual(await read(store, 1), replacement);
        assert.notEqual(await store.put(textOf(2)), id);
      },
    );

    promise(
      "gives one text, and deletes all, when many put the same document at once",
      async (store) => {
        const puts = Array.from({ length: 20 }, (_, index) =>
          store.put(textOf(1, { extracted_text: `text ${index}` })),
        );
        await Promise.all(puts);
        assert.match((await store.get(1))?.extracted_text ?? "", /^text \d+$/);
        await store.delete(1);
        assert.equal(await store.get(1), undefined);
      },
    );

    promise("deletes one document's text; deleting what is not there is fine", async (store) => {
      await store.put(textOf(1));
      await store.put(textOf(2));
      await store.delete(1);
      await store.delete(1);
      assert.equal(await store.get(1), undefined);
      assert.deepEqual(await read(store, 2), textOf(2));
    });

    promise("takes document ids up to the largest safe integer", async (store) => {
      for (const id of [2 ** 31, 2 ** 40 + 1, Number.MAX_SAFE_INTEGER]) {
        await store.put(textOf(id));
        assert.deepEqual(await read(store, id), textOf(id));
        await store.delete(id);
        assert.equal(await store.get(id), undefined);
      }
    });

    promise("takes a text of millions of characters", async (store) => {
      const long = textOf(1, { extracted_text: "كلمة word ".repeat(300_000) });
      await store.put(long);
      assert.equal((await store.get(1))?.extracted_text, long.extracted_text);
    });

    promise(
      "shows one store's texts to another on the same data, also after a restart",
      async (store, another) => {
        const id = await store.put(textOf(1));
        const second = another();
        await second.connect();
        assert.deepEqual(await read(second, 1), textOf(1));
        await store.close();
        assert.equal(await second.put(textOf(1, { extracted_text: "new" })), id);
      },
    );

    promise(
      "answers a ping, connects again without harm, and says what it is without a secret",
      async (store) => {
        await store.ping();
        await store.put(textOf(1));
        await store.connect();
        assert.deepEqual(await read(store, 1), textOf(1));
        assert.match(store.description, /^(embedded|MongoDB \([^@]+\))$/);
      },
    );

    searchPromises(promise, textOf);

    promise("closes twice without harm", async (store) => {
      await store.close();
      await store.close();
    });
  });
}

contract("embedded", embedded);
contract("MongoDB driver against the peer of the tests", mongoPeer);

const url = process.env.TEST_MONGO_URL;
const reason = "its 22 tests were not run: TEST_MONGO_URL names no MongoDB server";
contract("MongoDB server", mongoServer(url ?? ""), url ? {} : { skip: reason });
