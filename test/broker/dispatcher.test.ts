import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Broker, Message } from "../../src/broker/broker.ts";
import { createDispatcher, type Dispatcher } from "../../src/broker/dispatcher.ts";
import type { Database } from "../../src/data/database.ts";
import { addToOutbox, claimFromOutbox, removeFromOutboxByDocument } from "../../src/data/outbox.ts";
import { openSqlite } from "../../src/data/sqlite.ts";
import { unavailable } from "../../src/errors.ts";
import { silent, until } from "../contracts/broker.ts";

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

function add(docId: number, queue = "ocr_queue"): Promise<void> {
  const body = JSON.stringify({ doc_id: docId });
  return addToOutbox(
    database,
    { doc_id: docId, queue, message_id: randomUUID(), body },
    new Date(),
  );
}

/** A broker whose answers the test decides. */
function scriptedBroker() {
  const sent: Message[] = [];
  const broker = {
    sent,
    pings: 0,
    attempts: 0,
    publishing: async (_queue: string, _message: Message): Promise<void> => {},
    pinging: async (): Promise<void> => {},
    description: "scripted",
    connect: async () => {},
    async publish(queue: string, message: Message) {
      broker.attempts += 1;
      await broker.publishing(queue, message);
      sent.push(message);
    },
    consume: () => Promise.reject(new Error("not here")),
    ping() {
      broker.pings += 1;
      return broker.pinging();
    },
    close: async () => {},
  };
  return broker satisfies Broker;
}

const down = () =>
  Promise.reject(unavailable("The message broker", new Error("connection refused")));

describe("dispatcher", () => {
  const dispatchers: Dispatcher[] = [];
  afterEach(() => Promise.all(dispatchers.splice(0).map((dispatcher) => dispatcher.stop())));

  function start(broker: Broker, on: Database = database): Dispatcher {
    const dispatcher = createDispatcher({ database: on, broker, log: silent });
    dispatchers.push(dispatcher);
    dispatcher.start();
    return dispatcher;
  }
  const sentDocuments = (broker: { sent: Message[] }) =>
    broker.sent.map(({ body }) => JSON.parse(body).doc_id);

  test("sends what was left from before, oldest first, and what is notified later at once", async () => {
    const broker = scriptedBroker();
    for (let docId = 1; docId <= 45; docId++) await add(docId);
    const dispatcher = start(broker);
    await until(isEmpty, "an empty outbox");
    assert.deepEqual(
      sentDocuments(broker),
      Array.from({ length: 45 }, (_, index) => index + 1),
    );
    await add(46);
    dispatcher.notify();
    await until(isEmpty, "an empty outbox", 4_000); // sooner than it would look by itself
    assert.equal(sentDocuments(broker).at(-1), 46);
  });

  test("a row stays until the broker confirmed its message", async () => {
    const broker = scriptedBroker();
    let confirm = () => {};
    broker.publishing = () =>
      new Promise((resolve) => {
        confirm = resolve;
      });
    await add(1);
    start(broker);
    await until(() => broker.attempts === 1, "an attempt");
    await sleep(50);
    assert.deepEqual(await documents(), [1]);
    confirm();
    await until(isEmpty, "an empty outbox");
    assert.equal(broker.sent.length, 1);
  });

  test("while the broker is down messages are left alone, however often it is notified, and go when it is back", async () => {
    const broker = scriptedBroker();
    broker.publishing = down;
    broker.pinging = down;
    for (let docId = 1; docId <= 30; docId++) await add(docId);
    const dispatcher = start(broker);
    await until(() => broker.pings >= 1, "a ping");
    for (let index = 0; index < 200; index++) {
      dispatcher.notify();
      await sleep(1);
    }
    await until(() => broker.pings >= 2, "another ping");
    assert.ok(broker.pings < 10, `${broker.pings} pings`);
    assert.equal(broker.attempts, 20); // one batch, before it knew
    assert.equal(Math.max(...(await rows()).map(({ attempts }) => attempts)), 1);
    const [first] = await rows();
    assert.equal(first?.last_error, "connection refused");
    broker.publishing = async () => {};
    broker.pinging = async () => {};
    await until(isEmpty, "an empty outbox", 15_000);
    assert.equal(new Set(sentDocuments(broker)).size, 30);
    assert.equal(broker.sent.length, 30);
  });

  test("a message that the broker refuses holds up no other, and is tried more and more seldom", async () => {
    const broker = scriptedBroker();
    broker.publishing = async (queue) => {
      if (queue === "bad") throw new Error("precondition failed");
    };
    for (let docId = 1; docId <= 25; docId++) await add(docId, "bad");
    await add(26);
    const dispatcher = start(broker);
    await until(() => sentDocuments(broker).includes(26), "the good message");
    await add(27);
    dispatcher.notify();
    await until(() => sentDocuments(broker).includes(27), "another good message");
    const before = broker.attempts;
    for (let index = 0; index < 100; index++) {
      dispatcher.notify();
      await sleep(1);
    }
    assert.ok(broker.attempts - before <= 50, `${broker.attempts - before} attempts`);
    const left = await until(async () => {
      const list = await rows();
      return list.every(({ attempts }) => attempts >= 2) && list;
    }, "second attempts");
    assert.equal(left.length, 25);
    assert.equal(left[0]?.last_error, "precondition failed");
    assert.equal(broker.pings, 0);
  });

  test("a broker that answers pings but takes nothing gets less and less to refuse", async () => {
    const broker = scriptedBroker();
    broker.publishing = down;
    for (let docId = 1; docId <= 60; docId++) await add(docId);
    start(broker);
    await until(() => broker.attempts >= 22, "probes after the first batch");
    assert.ok(broker.attempts <= 23, `${broker.attempts} attempts`);
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
    await claimFromOutbox(database, {
      claimant: "dead",
      now,
      until: new Date(now.getTime() + 300),
      limit: 1,
    });
    const broker = scriptedBroker();
    start(broker);
    await until(isEmpty, "an empty outbox");
    assert.deepEqual(sentDocuments(broker), [1]);
  });

  test("a message whose document was deleted meanwhile is not sent", async () => {
    const broker = scriptedBroker();
    broker.publishing = down;
    broker.pinging = down;
    await add(1);
    await add(2);
    start(broker);
    await until(() => broker.pings > 0, "a ping");
    await removeFromOutboxByDocument(database, 1);
    broker.publishing = async () => {};
    broker.pinging = async () => {};
    await until(isEmpty, "an empty outbox");
    assert.deepEqual(sentDocuments(broker), [2]);
  });

  test("faults of the database are survived, and a confirmed message is not sent again for one", async () => {
    const broker = scriptedBroker();
    let faults = 3;
    const faulty: Database = {
      ...database,
      run: (sql, params) => {
        if (/^DELETE/.test(sql) && faults > 0) {
          faults -= 1;
          return Promise.reject(unavailable("The database"));
        }
        return database.run(sql, params);
      },
      page: (sql, params, window) => {
        if (faults > 0 && faults < 3) {
          faults -= 1;
          return Promise.reject(unavailable("The database"));
        }
        return database.page(sql, params, window);
      },
    };
    await add(1);
    const dispatcher = createDispatcher({
      database: faulty,
      broker,
      log: silent,
      now: () => new Date(Date.now() + (faults === 0 ? 60_000 : 0)), // the claim runs out
    });
    dispatchers.push(dispatcher);
    dispatcher.start();
    await until(isEmpty, "an empty outbox");
    assert.deepEqual(sentDocuments(broker), [1]);
  });

  test("stop waits for the message under way, and starts no other", async () => {
    const broker = scriptedBroker();
    let confirm = () => {};
    broker.publishing = () =>
      new Promise((resolve) => {
        confirm = resolve;
      });
    await add(1);
    const dispatcher = start(broker);
    await until(() => broker.attempts === 1, "an attempt");
    let stopped = false;
    const stopping = dispatcher.stop().then(() => {
      stopped = true;
    });
    await add(2);
    dispatcher.notify();
    await sleep(50);
    assert.equal(stopped, false);
    confirm();
    await stopping;
    assert.deepEqual(await documents(), [2]);
    assert.equal(broker.attempts, 1);
  });
});
