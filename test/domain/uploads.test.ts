import assert from "node:assert/strict";
import { PassThrough, Readable } from "node:stream";
import { type TestContext, test } from "node:test";
import type { Database } from "../../src/data/database.ts";
import { createBlobFinder } from "../../src/domain/blobs.ts";
import { createDeletions } from "../../src/domain/deletions.ts";
import { createFreeSpace } from "../../src/domain/free-space.ts";
import { createOcrQueue } from "../../src/domain/ocr-queue.ts";
import { createUploads } from "../../src/domain/uploads.ts";
import { callerOf, coreOf } from "../support/core.ts";
import { silent } from "../support/sqlserver.ts";
import { until } from "../support/wait.ts";
import { inMemory, refusal } from "./session-support.ts";

const ROOT = { full_path: "/", description: null };
const MEGABYTE = 1024 * 1024;
const fileOf = (stream: Readable, name = "a.txt") => ({ name, contentType: "text/plain", stream });

const queueThat = (notify: () => void) =>
  createOcrQueue({ backend: "ocr_api", name: "ocr_queue", broker: {}, notify });

/** A server process on a database, with a clock of its own and blobs in memory. */
function processOn(database: Database, { free = 2 * MEGABYTE } = {}) {
  const clock = { time: Date.parse("2026-03-01T10:00:00Z") };
  const now = () => new Date(clock.time);
  const blobs = new Set<string>();
  const storage = {
    freeBytes: async () => free,
    async upload(stream: Readable, key: string) {
      await stream.resume().toArray();
      blobs.add(key);
      return `http://storage/${key}`;
    },
    delete: async (key: string) => void blobs.delete(key),
  } as never;
  const findBlob = createBlobFinder(storage);
  const parts = { database, storage, content: {} as never, findBlob, log: silent, now };
  const deletions = createDeletions(parts);
  const uploads = createUploads({
    ...coreOf(database, now),
    storage,
    deletions,
    space: createFreeSpace(MEGABYTE),
    queue: queueThat(() => {}),
  });
  const cleanUp = () => deletions.carryOutDue(new AbortController().signal);
  return { clock, blobs, deletions, uploads, cleanUp };
}

async function setUp(t: TestContext) {
  const { database, user } = await inMemory(t);
  const count = async (table: string) =>
    (await database.first<{ n: number }>(`SELECT COUNT(*) AS n FROM ${table}`))?.n;
  return { database, caller: await callerOf(database, user.userId), count };
}

test("what fails after the commit takes no blob away from its document", async (t) => {
  const { database, caller, count } = await setUp(t);
  const { uploads, blobs } = processOn(database);
  const file = await uploads.receive(fileOf(Readable.from(["text"])), "/");
  const broken = createUploads({
    ...coreOf(database),
    storage: {} as never,
    deletions: { carryOut: () => assert.fail() } as never,
    space: createFreeSpace(0),
    queue: queueThat(() => {
      throw new Error("the dispatcher is broken");
    }),
  });
  await assert.rejects(broken.finish(caller, file, ROOT), /the dispatcher is broken/);
  assert.deepEqual([await count("Documents"), blobs.size], [1, 1]);
});

test("however long an upload takes, its lease is renewed, by few statements for many", async (t) => {
  const { database, caller, count } = await setUp(t);
  let updates = 0;
  const counted: Database = {
    ...database,
    run(sql, params) {
      if (sql.startsWith("UPDATE Deletions SET due_at")) updates += 1;
      return database.run(sql, params);
    },
  };
  const [mine, other] = [processOn(counted), processOn(database)];
  const bodies = Array.from({ length: 250 }, () => new PassThrough());
  const received = bodies.map((body, index) =>
    mine.uploads.receive(fileOf(body, `${index}.txt`), "/"),
  );
  await until(async () => (await count("Deletions")) === 250, "all to be noted");
  for (let seconds = 0; seconds < 60; seconds += 15) {
    mine.clock.time += 15_000;
    other.clock.time += 15_000;
    await mine.uploads.renew();
    await other.cleanUp();
  }
  assert.equal(updates, 3 * 4);
  for (const body of bodies) body.end("text");
  for (const file of received) await mine.uploads.finish(caller, await file, ROOT);
  assert.deepEqual([await count("Documents"), await count("Deletions")], [250, 0]);
  assert.equal(mine.blobs.size, 250);
  // Nothing is left to renew.
  updates = 0;
  await mine.uploads.renew();
  assert.equal(updates, 0);
});

test("an upload that is not renewed is anybody's, and comes to nothing at its end", async (t) => {
  const { database, caller, count } = await setUp(t);
  const [mine, other] = [processOn(database), processOn(database)];
  const body = new PassThrough();
  const received = mine.uploads.receive(fileOf(body), "/");
  await until(async () => (await count("Deletions")) === 1, "the note");
  other.clock.time += 19_000;
  await other.cleanUp();
  assert.equal(await count("Deletions"), 1);
  other.clock.time += 1_000;
  await other.cleanUp();
  assert.equal(await count("Deletions"), 0);
  // Renewals come too late.
  await mine.uploads.renew();
  body.end("text");
  const finished = mine.uploads.finish(caller, await received, ROOT);
  await assert.rejects(finished, { code: "unavailable" });
  assert.deepEqual([await count("Documents"), mine.blobs.size], [0, 0]);
});

test("what another process has begun to delete is not begun again, nor taken back", async (t) => {
  const { database, caller, count } = await setUp(t);
  const [mine, other] = [processOn(database), processOn(database)];
  const file = await mine.uploads.receive(fileOf(Readable.from(["text"])), "/");
  other.clock.time += 20_000;
  const stuck = t.mock.method(other.blobs, "delete", () => {
    throw new Error("the storage is away");
  });
  await other.cleanUp();
  await other.cleanUp();
  assert.equal(stuck.mock.callCount(), 1);
  await mine.uploads.renew();
  const due = await database.first<{ at: Date }>("SELECT due_at AS at FROM Deletions");
  assert.equal(due?.at.getTime(), other.clock.time + 20_000);
  // It comes again when the lease of the one that began it has ended.
  stuck.mock.restore();
  other.clock.time += 20_000;
  await other.cleanUp();
  assert.equal(await count("Deletions"), 0);
  await assert.rejects(mine.uploads.finish(caller, file, ROOT), { code: "unavailable" });
  assert.deepEqual([await count("Documents"), mine.blobs.size], [0, 0]);
});

test("a body that would leave less than the floor is refused, and any body below it", async (t) => {
  const { database } = await setUp(t);
  const noRoom = refusal("insufficient_storage", "Not enough space to store the file");
  const { uploads } = processOn(database, { free: 2 * MEGABYTE });
  await uploads.admit(0);
  await uploads.admit(MEGABYTE);
  await assert.rejects(uploads.admit(MEGABYTE + 1), noRoom);
  await assert.rejects(processOn(database, { free: MEGABYTE - 1 }).uploads.admit(0), noRoom);
  const onFullDisk = { ...database, freeBytes: async () => 0 };
  await assert.rejects(processOn(onFullDisk).uploads.admit(0), noRoom);
  const none = createFreeSpace(0);
  await none.require({ freeBytes: async () => 0 }, MEGABYTE);
  await createFreeSpace(MEGABYTE).require({}, MEGABYTE);
  await createFreeSpace(MEGABYTE).require({ freeBytes: async () => undefined });
  await createFreeSpace(MEGABYTE).require({ freeBytes: () => Promise.reject(new Error("ENOENT")) });
});
