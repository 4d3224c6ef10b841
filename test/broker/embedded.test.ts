import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { type Delivery, MAX_DELIVERIES } from "../../src/broker/broker.ts";
import { EmbeddedBroker } from "../../src/broker/embedded.ts";
import type { Database } from "../../src/data/database.ts";
import { openSqlite } from "../../src/data/sqlite.ts";
import { unavailable } from "../../src/errors.ts";
import { message, silent } from "../contracts/broker.ts";
import { until } from "../support/wait.ts";

const QUEUE = "ocr_queue";

describe("embedded broker", () => {
  let folder: string;
  let database: Database;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "broker-"));
    database = openSqlite({ file: join(folder, "queue.db") });
  });
  afterEach(async () => {
    await database.close();
    await rm(folder, { recursive: true, force: true });
  });

  const rows = (queue: string) =>
    database.all<{ message_id: string; body: string; reason: string | null; deliveries: number }>(
      "SELECT message_id, body, reason, deliveries FROM Broker_Messages WHERE queue = @queue",
      { queue },
    );
  const leaseEnd = async () => {
    const row = await database.first<{ visible_at: Date }>(
      "SELECT visible_at FROM Broker_Messages",
    );
    return row?.visible_at.getTime() ?? 0;
  };

  test("a handler that takes longer than a lease keeps its message", async (t) => {
    t.mock.timers.enable({ apis: ["setInterval"] });
    const broker = new EmbeddedBroker({ database, log: silent });
    const { promise: finished, resolve: finish } = Promise.withResolvers<void>();
    let runs = 0;
    await broker.publish(QUEUE, message());
    const consumer = await broker.consume(
      QUEUE,
      () => {
        runs += 1;
        return finished;
      },
      { prefetch: 2 },
    );
    await until(() => runs === 1, "a delivery");
    for (let renewal = 0; renewal < 3; renewal++) {
      await database.run("UPDATE Broker_Messages SET visible_at = @soon", {
        soon: new Date(Date.now() + 2_000),
      });
      t.mock.timers.tick(4_000);
      await until(async () => (await leaseEnd()) > Date.now() + 3_000, "a renewal");
    }
    finish();
    await consumer.cancel();
    assert.equal(runs, 1);
    assert.deepEqual(await rows(QUEUE), []);
  });

  test("the message of a consumer that died comes again when its lease has run out", async () => {
    const doomedDatabase = openSqlite({ file: join(folder, "queue.db") });
    const doomed = new EmbeddedBroker({ database: doomedDatabase, log: silent });
    const { promise: burial, resolve: bury } = Promise.withResolvers<void>();
    let isTaken = false;
    await doomed.consume(
      QUEUE,
      () => {
        isTaken = true;
        return burial;
      },
      { prefetch: 1 },
    );
    const sent = message();
    await doomed.publish(QUEUE, sent);
    await until(() => isTaken, "a delivery");
    await doomedDatabase.close(); // as dead as a killed process: it neither renews nor answers
    const broker = new EmbeddedBroker({ database, log: silent });
    const seen: Delivery[] = [];
    const consumer = await broker.consume(QUEUE, async (delivery) => void seen.push(delivery), {
      prefetch: 1,
    });
    assert.ok((await leaseEnd()) > Date.now(), "leased");
    await database.run("UPDATE Broker_Messages SET visible_at = @now", { now: new Date() });
    await until(() => seen.length === 1, "the redelivery");
    await consumer.cancel();
    bury();
    await doomed.close();
    assert.deepEqual(seen, [{ ...sent, deliveries: 2 }]);
    assert.deepEqual(await rows(QUEUE), []);
  });

  test("a message whose consumers died again and again is parked, not delivered", async () => {
    const broker = new EmbeddedBroker({ database, log: silent });
    const poison = message("poison");
    await broker.publish(QUEUE, poison);
    await database.run("UPDATE Broker_Messages SET deliveries = @most", { most: MAX_DELIVERIES });
    const seen: string[] = [];
    const consumer = await broker.consume(QUEUE, async ({ body }) => void seen.push(body), {
      prefetch: 1,
    });
    await broker.publish(QUEUE, message("good"));
    await until(() => seen.length > 0, "the good message");
    await until(async () => (await rows(QUEUE)).length === 0, "an empty queue");
    await consumer.cancel();
    assert.deepEqual(seen, ["good"]);
    assert.deepEqual(await rows(`${QUEUE}.failed`), [
      {
        message_id: poison.id,
        body: "poison",
        reason: "Error: The consumer ended before it answered.",
        deliveries: 0,
      },
    ]);
  });

  test("a message that comes again waits behind those that waited meanwhile", async () => {
    const broker = new EmbeddedBroker({ database, log: silent });
    for (const body of ["first", "second", "third"]) await broker.publish(QUEUE, message(body));
    // Times are in whole milliseconds: all three are surely older than the end of a lease below.
    await database.run("UPDATE Broker_Messages SET visible_at = @past", {
      past: new Date(Date.now() - 1_000),
    });
    const seen: string[] = [];
    const consumer = await broker.consume(
      QUEUE,
      async ({ body, deliveries }) => {
        seen.push(body);
        // What the end of a lease does to it.
        if (deliveries === 1 && body === "first")
          await database.run(
            "UPDATE Broker_Messages SET visible_at = @now, lease = NULL WHERE body = 'first'",
            { now: new Date() },
          );
      },
      { prefetch: 1 },
    );
    await until(() => seen.length === 4, "four deliveries");
    await consumer.cancel();
    assert.deepEqual(seen, ["first", "second", "third", "first"]);
  });

  test("faults of the database are survived, and nothing is confirmed that is not stored", async () => {
    let isBroken = true;
    const fault = () => Promise.reject(unavailable("The database"));
    const faulty: Database = {
      ...database,
      run: (sql, params) => (isBroken ? fault() : database.run(sql, params)),
      first: (sql, params) => (isBroken ? fault() : database.first(sql, params)),
      insert: (table, values, identity) =>
        isBroken ? fault() : database.insert(table, values, identity),
    };
    const broker = new EmbeddedBroker({ database: faulty, log: silent });
    await broker.connect();
    await assert.rejects(broker.ping(), { code: "unavailable" });
    await assert.rejects(broker.publish(QUEUE, message()), { code: "unavailable" });
    const seen: string[] = [];
    const consumer = await broker.consume(QUEUE, async ({ body }) => void seen.push(body), {
      prefetch: 1,
    });
    isBroken = false;
    await broker.ping();
    await broker.publish(QUEUE, message("stored"));
    await until(() => seen.includes("stored"), "a delivery");
    await consumer.cancel();
  });
});
