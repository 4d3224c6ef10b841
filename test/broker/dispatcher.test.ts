import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Broker, Message } from "../../src/broker/broker.ts";
import { createDispatcher } from "../../src/broker/dispatcher.ts";
import type { Database } from "../../src/data/database.ts";
import { addToOutbox, claimFromOutbox, removeFromOutboxByDocument } from "../../src/data/outbox.ts";
import { openSqlite } from "../../src/data/sqlite.ts";
import { unavailable } from "../../src/errors.ts";
import { silent } from "../contracts/broker.ts";
import { until } from "../support/wait.ts";

/** The dispatcher's own, in milliseconds. */
const PAUSE = 2_000;

interface Row {
  doc_id: number;
  attempts: number;
  last_error: string | null;
}

let database: Database;
beforeEach(async () => {
  database = openSqlite({ file: ":memory:" });
  await database.migrate();
});
afterEach(() => database.close());

const rows = () =>
  database.all<Row>("SELECT doc_id, attempts, last_error FROM Outbox ORDER BY outbox_id");
const documents = async () => (await rows()).map(({ doc_id }) => doc_id);
const isEmpty = async () => (await rows()).length === 0;

async function add(docId: number, queue = "ocr_queue"): Promise<void> {
  const body = JSON.stringify({ doc_id: docId });
  const row = { doc_id: docId, queue, message_id: randomUUID(), body };
  await addToOutbox(database, row, new Date());
}

/** A broker whose answers the test decides. */
function scriptedBroker() {
  const sent: Message[] = [];
  const broker = {
    sent,
    attempts: 0,
    publishing: async (_queue: string, _message: Message): Promise<void> => {},
    description: "scripted",
    connect: async () => {},
    async publish(queue: string, message: Message) {
      broker.attempts += 1;
      await broker.publishing(queue, message);
      sent.push(message);
    },
    ping: async () => {},
    close: async () => {},
  };
  return broker satisfies Broker;
}

const down = () =>
  Promise.reject(unavailable("The message broker", new Error("connection refused")));

describe("dispatcher", () => {
  const dispatchers: ReturnType<typeof createDispatcher>[] = [];
  afterEach(() => Promise.all(dispatchers.splice(0).map((dispatcher) => dispatcher.stop())));

  function start(broker: Broker, on = database, now = () => new Date()) {
    const dispatcher = createDispatcher({ database: on, broker, log: silent, now });
    dispatchers.push(dispatcher);
    dispatcher.start();
    return dispatcher;
  }
  const sentDocuments = (broker: { sent: Message[] }) =>
    broker.sent.map(({ body }) => JSON.parse(body).doc_id);

  test("sends what was left from before, oldest first", async () => {
    const broker = scriptedBroker();
    for (let docId = 1; docId <= 45; docId++) await add(docId);
    start(broker);
    await until(isEmpty, "an empty outbox");
    assert.deepEqual(
      sentDocuments(broker),
      Array.from({ length: 45 }, (_, index) => index + 1),
    );
  });

  test("a notified message does not wait for the next look", async () => {
    const broker = scriptedBroker();
    const dispatcher = start(broker);
    const begun = performance.now();
    for (let docId = 1; docId <= 20; docId++) {
      await add(docId);
      dispatcher.notify();
      await until(isEmpty, "an empty outbox");
    }
    // Looks alone would take a pause for each message.
    assert.ok(performance.now() - begun < 10 * PAUSE, "sooner than by looks alone");
  });

  test("what other processes committed is found without being notified", async () => {
    const broker = scriptedBroker();
    start(broker);
    await sleep(50);
    await add(1);
    await until(isEmpty, "an empty outbox");
    assert.deepEqual(sentDocuments(broker), [1]);
  });

  test("a row stays until the broker confirmed its message", async () => {
    const broker = scriptedBroker();
    const { promise: confirmed, resolve: confirm } = Promise.withResolvers<void>();
    broker.publishing = () => confirmed;
    await add(1);
    start(broker);
    await until(() => broker.attempts === 1, "an attempt");
    await sleep(50);
    assert.deepEqual(await documents(), [1]);
    confirm();
    await until(isEmpty, "an empty outbox");
    assert.equal(broker.sent.length, 1);
  });

  test("while the broker is down one message a pause is tried, and all go when it is back", async () => {
    const broker = scriptedBroker();
    broker.publishing = down;
    for (let docId = 1; docId <= 60; docId++) await add(docId);
    const dispatcher = start(broker);
    const begun = performance.now();
    await until(() => broker.attempts >= 20, "the first batch");
    await until(() => {
      dispatcher.notify();
      return broker.attempts >= 22;
    }, "two attempts more");
    const pauses = Math.ceil((performance.now() - begun) / PAUSE);
    assert.ok(broker.attempts <= 20 + pauses, `${broker.attempts} attempts, ${pauses} pauses`);
    const errors = new Set((await rows()).map(({ last_error }) => last_error));
    assert.deepEqual([...errors].sort(), ["Error: connection refused", null]);
    broker.publishing = async () => {};
    await until(isEmpty, "an empty outbox");
    assert.equal(new Set(sentDocuments(broker)).size, 60);
    assert.equal(broker.sent.length, 60);
  });

  test("a message that the broker refuses holds up no other, and waits longer each time", async () => {
    const broker = scriptedBroker();
    const attempts: number[] = [];
    broker.publishing = async (queue) => {
      if (queue !== "bad") return;
      attempts.push(performance.now());
      throw new Error("precondition failed");
    };
    for (let docId = 1; docId <= 45; docId++) await add(docId, "bad");
    await add(46);
    const dispatcher = start(broker);
    await until(() => sentDocuments(broker).includes(46), "the good message");
    const left = await until(async () => {
      dispatcher.notify();
      const list = await rows();
      return list.every((row) => row.attempts >= 3) && list;
    }, "third attempts");
    assert.equal(left.length, 45);
    assert.equal(left[0]?.last_error, "Error: precondition failed");
    const [first = 0] = attempts;
    const third = attempts.at(90) ?? 0;
    assert.ok(third - first >= 2_900, "a second and two before the third attempt");
  });

  test("two processes on one database send each message once", async () => {
    const brokers = [scriptedBroker(), scriptedBroker()];
    for (let docId = 1; docId <= 200; docId++) await add(docId);
    for (const broker of brokers) {
      broker.publishing = () => sleep(2);
      start(broker);
    }
    await until(isEmpty, "an empty outbox");
    const all = brokers.flatMap(sentDocuments);
    assert.equal(all.length, 200);
    assert.equal(new Set(all).size, 200);
  });

  test("what a dead process had claimed is sent when its claim has run out", async () => {
    await add(1);
    const now = new Date();
    const soon = new Date(now.getTime() + 300);
    await claimFromOutbox(database, { claimant: "dead", now, until: soon, limit: 1 });
    const broker = scriptedBroker();
    start(broker);
    await until(isEmpty, "an empty outbox");
    assert.deepEqual(sentDocuments(broker), [1]);
  });

  test("a broker that says nothing is away before the claim of its message ends", async () => {
    const broker = scriptedBroker();
    broker.publishing = () => new Promise(() => {});
    await add(1);
    start(broker);
    const begun = performance.now();
    const row = await until(
      async () => (await rows()).find(({ attempts }) => attempts > 0),
      "a try",
    );
    assert.match(row.last_error ?? "", /did not answer/);
    assert.ok(performance.now() - begun > 10_000, "later than the brokers' own limits");
  });

  test("a message whose document was deleted meanwhile is not sent", async () => {
    const broker = scriptedBroker();
    broker.publishing = down;
    await add(1);
    await add(2);
    start(broker);
    await until(async () => (await rows()).every(({ attempts }) => attempts > 0), "attempts");
    await removeFromOutboxByDocument(database, 1);
    broker.publishing = async () => {};
    await until(isEmpty, "an empty outbox");
    assert.deepEqual(sentDocuments(broker), [2]);
  });

  test("faults of the database are survived: each message is sent at least once", async () => {
    const broker = scriptedBroker();
    let faults = 2;
    const fail = () => {
      faults -= 1;
      return Promise.reject(unavailable("The database"));
    };
    const faulty: Database = {
      ...database,
      run: (sql, params) =>
        sql.startsWith("DELETE") && faults > 0 ? fail() : database.run(sql, params),
      page: (sql, params, window) => (faults === 1 ? fail() : database.page(sql, params, window)),
    };
    await add(1);
    const afterTheClaim = () => new Date(Date.now() + (faults === 0 ? 60_000 : 0));
    start(broker, faulty, afterTheClaim);
    await until(isEmpty, "an empty outbox");
    assert.deepEqual(new Set(sentDocuments(broker)), new Set([1]));
  });

  test("stop waits for the message under way, and starts no other", async () => {
    const broker = scriptedBroker();
    const { promise: confirmed, resolve: confirm } = Promise.withResolvers<void>();
    broker.publishing = () => confirmed;
    await add(1);
    const dispatcher = start(broker);
    await until(() => broker.attempts === 1, "an attempt");
    let isStopped = false;
    const stopping = dispatcher.stop().then(() => {
      isStopped = true;
    });
    await add(2);
    dispatcher.notify();
    await sleep(50);
    assert.equal(isStopped, false);
    confirm();
    await stopping;
    assert.deepEqual(await documents(), [2]);
    assert.equal(broker.attempts, 1);
  });
});
