import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { type Delivery, MAX_DELIVERIES } from "../../src/broker/broker.ts";
import { EmbeddedBroker } from "../../src/broker/embedded.ts";
import type { Database } from "../../src/data/database.ts";
import { openSqlite } from "../../src/data/sqlite.ts";
import { unavailable } from "../../src/errors.ts";
import { silent, until } from "../contracts/broker.ts";

const QUEUE = "ocr_queue";
const message = (body = '{"doc_id":1}') => ({ id: randomUUID(), body });

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

  test("the message of a consumer that died is delivered again when its lease has run out", async () => {
    const doomedDatabase = openSqlite({ file: join(folder, "queue.db") });
    const doomed = new EmbeddedBroker({ database: doomedDatabase, log: silent, lease: 300 });
    const { promise: burial, resolve: bury } = Promise.withResolvers<void>();
    let taken = false;
    await doomed.consume(
      QUEUE,
      () => {
        taken = true;
        return burial;
      },
      { prefetch: 1 },
    );
    const sent = message();
    await doomed.publish(QUEUE, sent);
    await until(() => taken, "a delivery");
    await doomedDatabase.close(); // as dead as a killed process: it neither renews nor answers
    const broker = new EmbeddedBroker({ database, log: silent, lease: 30_000 });
    const seen: Delivery[] = [];
    const consumer = await broker.consume(QUEUE, async (delivery) => void seen.push(delivery), {
      prefetch: 1,
    });
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
        reason: "The consumer ended before it answered.",
        deliveries: 0,
      },
    ]);
  });

  test("parked messages can be consumed in their turn", async () => {
    const broker = new EmbeddedBroker({ database, log: silent, retryDelay: 1 });
    await broker.publish(QUEUE, message());
    const failing = await broker.consume(QUEUE, () => Promise.reject(new Error("no")), {
      prefetch: 1,
    });
    const seen: number[] = [];
    const repairing = await broker.consume(
      `${QUEUE}.failed`,
      async ({ deliveries }) => void seen.push(deliveries),
      {
        prefetch: 1,
      },
    );
    await until(() => seen.length === 1, "the parked message");
    await failing.cancel();
    await repairing.cancel();
    assert.deepEqual(seen, [1]);
  });

  test("faults of the database are survived: nothing is confirmed that is not stored, and consumers go on", async () => {
    let broken = true;
    const fault = () => Promise.reject(unavailable("The database"));
    const faulty: Database = {
      ...database,
      run: (sql, params) => (broken ? fault() : database.run(sql, params)),
      page: (sql, params, window) => (broken ? fault() : database.page(sql, params, window)),
      insert: (table, values, identity) =>
        broken ? fault() : database.insert(table, values, identity),
      ping: () => (broken ? fault() : database.ping()),
    };
    const broker = new EmbeddedBroker({ database: faulty, log: silent });
    await broker.connect();
    await assert.rejects(broker.ping(), { code: "unavailable" });
    await assert.rejects(broker.publish(QUEUE, message()), { code: "unavailable" });
    const seen: string[] = [];
    const consumer = await broker.consume(QUEUE, async ({ body }) => void seen.push(body), {
      prefetch: 1,
    });
    broken = false;
    await broker.ping();
    await broker.publish(QUEUE, message("stored"));
    await until(() => seen.includes("stored"), "a delivery");
    await consumer.cancel();
  });
});
