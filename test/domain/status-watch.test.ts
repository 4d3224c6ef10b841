import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Database } from "../../src/data/database.ts";
import { type Document, findDocument, insertDocument } from "../../src/data/documents.ts";
import { createStatusWatch } from "../../src/domain/status-watch.ts";
import { AppError, unavailable } from "../../src/errors.ts";
import { callerOf, coreOf } from "../support/core.ts";
import { until } from "../support/wait.ts";
import { inMemory } from "./session-support.ts";

/** A watch whose seconds go by when the test says so, and how often it looked. */
async function setUp(t: TestContext, documents: number) {
  const { database, user } = await inMemory(t);
  const seen: Document[] = [];
  for (let i = 0; i < documents; i++) {
    const row = {
      filename: `${i}.txt`,
      pathId: 1,
      uploadedByUserId: user.userId,
      uploadedAt: new Date(),
      fileSize: 1,
      contentType: "text/plain",
      description: null,
      sha256: null,
      blobKey: `${i}`,
      fileType: "txt",
    };
    const document = await findDocument(database, await insertDocument(database, row, ["OCR"]));
    assert.ok(document);
    seen.push(document);
  }
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  const all = t.mock.method(database, "all");
  const warnings: unknown[] = [];
  const log = { warn: (text: string) => void warnings.push(text) } as never;
  const watch = createStatusWatch({ ...coreOf(database), log });
  const caller = await callerOf(database, user.userId);
  /** Waits like a request; `ended` is set once it has its answer. */
  const hold = (document: Document | undefined, seconds: number, signal?: AbortSignal) => {
    assert.ok(document);
    const held = { ended: false };
    const next = watch.next(caller, document, seconds, signal ?? new AbortController().signal);
    const answer = next.finally(() => {
      held.ended = true;
    });
    answer.catch(() => {});
    return Object.assign(held, { answer });
  };
  /** A second goes by, and what it started is over: statements take turns. */
  const second = async () => {
    t.mock.timers.tick(1000);
    for (let turn = 0; turn < 10; turn++) await database.ping();
  };
  return { database, seen, all, warnings, watch, hold, second };
}

const setPages = (database: Database, docId: number, done: number) =>
  database.run(
    `UPDATE Processing_Status SET status = 'Processing', pages_done = @done, pages_total = 9
     WHERE doc_id = @docId`,
    { docId, done },
  );

test("a hundred that wait are looked after by one statement a second", async (t) => {
  const { database, seen, all, hold, second } = await setUp(t, 100);
  const held = seen.map((document) => hold(document, 30));
  const twin = hold(seen[0], 30);
  assert.equal(all.mock.callCount(), 0);
  for (let count = 1; count <= 3; count++) {
    await second();
    assert.equal(all.mock.callCount(), count);
  }
  assert.ok(held.every(({ ended }) => !ended));
  await setPages(database, seen[0]?.docId ?? 0, 1);
  await second();
  const [first, ...others] = held;
  assert.deepEqual([(await first?.answer)?.pagesDone, (await twin.answer).pagesTotal], [1, 9]);
  assert.ok(others.every(({ ended }) => !ended));
  for (let count = 0; count < 30; count++) await second();
  assert.equal((await Promise.all(others.map(({ answer }) => answer))).length, 99);
  const looks = all.mock.callCount();
  await second();
  assert.equal(all.mock.callCount(), looks, "nobody waits any more");
});

test("more than a statement takes are asked for in several", async (t) => {
  const { database, seen, all, hold, second } = await setUp(t, 101);
  const held = seen.map((document) => hold(document, 30));
  await setPages(database, seen[100]?.docId ?? 0, 1);
  await second();
  assert.equal(all.mock.callCount(), 2);
  assert.equal((await held[100]?.answer)?.status, "Processing");
  assert.equal(held.filter(({ ended }) => ended).length, 1);
});

test("the wait is over after its seconds, with the document as it was", async (t) => {
  const { seen, hold, second } = await setUp(t, 1);
  const held = hold(seen[0], 2);
  await second();
  assert.equal(held.ended, false);
  await second();
  assert.equal((await held.answer).status, "Queued");
});

test("what no worker will change is answered at once, and so is everybody at a stop", async (t) => {
  const { seen, all, watch, hold } = await setUp(t, 1);
  for (const status of ["Finished", "Failed"] as const)
    await hold({ ...(seen[0] as Document), status }, 30).answer;
  const held = hold(seen[0], 30);
  await watch.stop();
  await held.answer;
  await hold(seen[0], 30).answer;
  assert.equal(all.mock.callCount(), 0);
});

test("a client that goes away is waited for no longer, and the last one stops the looks", async (t) => {
  const { seen, all, hold, second } = await setUp(t, 1);
  const gone = new AbortController();
  const held = hold(seen[0], 30, gone.signal);
  await second();
  gone.abort(new Error("gone"));
  await assert.rejects(held.answer, /gone/);
  await assert.rejects(hold(seen[0], 30, gone.signal).answer, /gone/);
  await second();
  assert.equal(all.mock.callCount(), 1);
});

test("a look that fails leaves all waiting for the next one, and is logged", async (t) => {
  const { database, seen, all, warnings, hold, second } = await setUp(t, 1);
  const held = hold(seen[0], 30);
  await setPages(database, seen[0]?.docId ?? 0, 1);
  all.mock.mockImplementationOnce(async () => {
    throw unavailable("The database");
  });
  await second();
  assert.deepEqual([held.ended, warnings.length], [false, 1]);
  await second();
  assert.equal((await held.answer).pagesDone, 1);
});

test("looks don't pile up behind a slow one", async (t) => {
  const { seen, all, hold, second } = await setUp(t, 1);
  const held = hold(seen[0], 30);
  const slow = Promise.withResolvers<never[]>();
  all.mock.mockImplementationOnce(() => slow.promise);
  for (let count = 0; count < 3; count++) await second();
  assert.equal(all.mock.callCount(), 1);
  // Who came after the look began is not taken for gone by it.
  const late = hold(seen[0], 30);
  slow.resolve([]);
  await until(() => held.ended, "the answer to who was looked for");
  assert.equal(late.ended, false);
});

test("a document that is deleted meanwhile is a 404", async (t) => {
  const { database, seen, hold, second } = await setUp(t, 1);
  const held = hold(seen[0], 30);
  for (const table of ["Processing_Status", "Documents"])
    await database.run(`DELETE FROM ${table}`);
  await second();
  await assert.rejects(held.answer, (e) => e instanceof AppError && e.code === "not_found");
});
