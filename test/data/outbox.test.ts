import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, test } from "node:test";
import type { Database, Queryable } from "../../src/data/database.ts";
import {
  addToOutbox,
  claimFromOutbox,
  confirmOutboxMessage,
  releaseOutboxMessage,
  removeFromOutboxByDocument,
} from "../../src/data/outbox.ts";
import { openSqlite } from "../../src/data/sqlite.ts";

interface Row {
  doc_id: number;
  attempts: number;
  claimed_by: string | null;
  claimed_until: Date | null;
  last_error: string | null;
}

let database: Database;
beforeEach(async () => {
  database = openSqlite({ file: ":memory:" });
  await database.migrate();
});
afterEach(() => database.close());

const rows = () =>
  database.all<Row>(
    "SELECT doc_id, attempts, claimed_by, claimed_until, last_error FROM Outbox ORDER BY outbox_id",
  );
const documents = async () => (await rows()).map(({ doc_id }) => doc_id);

function add(docId: number, queue = "ocr_queue"): Promise<void> {
  const body = JSON.stringify({ doc_id: docId });
  return addToOutbox(
    database,
    { doc_id: docId, queue, message_id: randomUUID(), body },
    new Date(),
  );
}

describe("outbox", () => {
  const start = new Date("2026-03-01T10:00:00.000Z");
  const later = (seconds: number) => new Date(start.getTime() + seconds * 1_000);
  const claim = (at: Date, limit = 10, claimant: string = randomUUID()) =>
    claimFromOutbox(database, { claimant, now: at, until: new Date(at.getTime() + 20_000), limit });

  test("a message is there only when its transaction commits", async () => {
    const message = { doc_id: 1, queue: "q", message_id: "m", body: "{}" };
    await assert.rejects(
      database.transaction(async (tx) => {
        await addToOutbox(tx, message, start);
        throw new Error("rolled back");
      }),
    );
    assert.deepEqual(await documents(), []);
    await database.transaction((tx) => addToOutbox(tx, message, start));
    const [claimed] = await claim(later(1));
    assert.deepEqual(
      { ...claimed, outbox_id: 0 },
      { outbox_id: 0, queue: "q", message_id: "m", body: "{}", attempts: 0 },
    );
  });

  test("claims are oldest first, and what one claimed no other gets until the claim runs out", async () => {
    for (const docId of [1, 2, 3]) await add(docId);
    const bodies = async (at: Date, limit: number) =>
      (await claim(at, limit)).map(({ body }) => body);
    assert.deepEqual(await bodies(start, 2), ['{"doc_id":1}', '{"doc_id":2}']);
    assert.deepEqual(await bodies(start, 2), ['{"doc_id":3}']);
    assert.deepEqual(await bodies(later(19.999), 9), []);
    assert.deepEqual(await bodies(later(20), 9), ['{"doc_id":1}', '{"doc_id":2}', '{"doc_id":3}']);
  });

  test("of two claimants who see the same messages one gets them", async () => {
    for (const docId of [1, 2, 3]) await add(docId);
    let others: Promise<unknown[]> | undefined;
    /** Lets another claim between the SELECT and the UPDATE of this one. */
    const interrupted: Queryable = {
      ...database,
      run: async (sql, params) => {
        others ??= claim(start, 2);
        await others;
        return database.run(sql, params);
      },
    };
    const until = later(20);
    const mine = await claimFromOutbox(interrupted, {
      claimant: "mine",
      now: start,
      until,
      limit: 3,
    });
    assert.equal((await others)?.length, 2);
    assert.deepEqual(
      mine.map(({ body }) => body),
      ['{"doc_id":3}'],
    );
  });

  test("a released message waits until it is due, and tells what went wrong", async () => {
    await add(1);
    const claimant = randomUUID();
    const [message] = await claim(start, 1, claimant);
    assert.ok(message);
    const release = {
      outboxId: message.outbox_id,
      claimant,
      due: later(4),
      error: "broker says no",
    };
    await releaseOutboxMessage(database, release);
    assert.deepEqual(await claim(later(3)), []);
    const [again] = await claim(later(4));
    assert.equal(again?.attempts, 1);
    const [row] = await rows();
    assert.equal(row?.last_error, "broker says no");
  });

  test("a claim that ran out can't release what another process has claimed since", async () => {
    await add(1);
    const slow = randomUUID();
    const [message] = await claim(start, 1, slow);
    await claim(later(20), 1, "successor");
    assert.ok(message);
    await releaseOutboxMessage(database, {
      outboxId: message.outbox_id,
      claimant: slow,
      due: start,
      error: "late",
    });
    const [row] = await rows();
    assert.deepEqual([row?.claimed_by, row?.attempts, row?.last_error], ["successor", 0, null]);
  });

  test("confirming removes one message, deleting a document takes back all of its own", async () => {
    for (const docId of [1, 2, 2, 3]) await add(docId);
    const [first] = await claim(start, 1);
    assert.ok(first);
    await confirmOutboxMessage(database, first.outbox_id);
    await removeFromOutboxByDocument(database, 2);
    assert.deepEqual(await documents(), [3]);
  });
});
