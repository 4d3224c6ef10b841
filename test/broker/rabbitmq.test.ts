import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, beforeEach, describe, type TestContext, test } from "node:test";
import { type Channel, type ChannelModel, connect } from "amqplib";
import { type Delivery, MAX_DELIVERIES } from "../../src/broker/broker.ts";
import { RabbitMQBroker } from "../../src/broker/rabbitmq.ts";
import { connected, message, silent, untilDone } from "../contracts/broker.ts";
import { createPrivateRabbitMQ, findRabbitMQ, type PrivateRabbitMQ } from "../support/rabbitmq.ts";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.ts";
import { until } from "../support/wait.ts";

const isUnavailable = { name: "AppError", code: "unavailable" };

describe("RabbitMQ that is there", () => {
  let server: { url: string; dispose(): Promise<void> } | { skip: string };
  let proxy: TcpProxy;
  let direct: ChannelModel;
  let plain: Channel;
  let queue: string;
  let broker: RabbitMQBroker;

  before(async () => {
    server = await findRabbitMQ();
    if ("skip" in server) return;
    const { port, hostname } = new URL(server.url);
    proxy = await startTcpProxy(Number(port || 5672), hostname);
    direct = await connect(server.url);
    plain = await direct.createChannel();
  });
  beforeEach(() => {
    if ("skip" in server) return;
    queue = `nassaq_test_${randomUUID()}`;
    const url = new URL(server.url);
    url.hostname = "127.0.0.1";
    url.port = String(proxy.port);
    broker = new RabbitMQBroker({ url: url.href, queue, log: silent });
  });
  after(async () => {
    if ("skip" in server) return;
    await direct.close();
    await proxy.close();
    await server.dispose();
  });

  function check(what: string, work: () => Promise<void>): void {
    test(what, async (context: TestContext) => {
      if ("skip" in server) return context.skip(server.skip);
      try {
        await work();
      } finally {
        await broker.close();
        proxy.silent = false;
        for (const name of [queue, `${queue}.failed`, `${queue}.other`])
          await plain.deleteQueue(name);
      }
    });
  }

  check("its queue is declared when it connects, before any message", async () => {
    await broker.connect();
    const isThere = async () => {
      const looking = await direct.createChannel();
      looking.on("error", () => {});
      await looking.checkQueue(queue);
      await looking.close();
    };
    await untilDone(isThere, "the queue");
    await plain.assertQueue(queue, { durable: true }); // another argument would be refused
  });

  check("a consumer without our code reads the exact body, persistent, typed", async () => {
    await connected(broker);
    const body = { doc_id: 42, file_path: "http://x/a%20b.pdf", filename: "تقرير.pdf", user_id: 7 };
    const sent = message(JSON.stringify(body));
    await broker.publish(queue, sent);
    const read = await plain.get(queue, { noAck: true });
    assert.ok(read);
    assert.equal(read.content.toString(), sent.body);
    assert.equal(read.properties.contentType, "application/json");
    assert.equal(read.properties.messageId, sent.id);
    assert.equal(read.properties.deliveryMode, 2);
  });

  check("a parked message keeps id and type and says why; it does not expire", async () => {
    await connected(broker);
    await broker.consume(queue, () => Promise.reject(new Error("no text in it")), { prefetch: 1 });
    const options = { messageId: "m1", contentType: "text/plain", expiration: "600000" };
    plain.sendToQueue(queue, Buffer.from("body"), options);
    await plain.assertQueue(`${queue}.failed`, { durable: true });
    const parked = await until(
      () => plain.get(`${queue}.failed`, { noAck: true }),
      "a parked message",
    );
    const { messageId, contentType, headers, expiration, deliveryMode } = parked.properties;
    assert.deepEqual(
      [messageId, contentType, expiration, deliveryMode, parked.content.toString()],
      ["m1", "text/plain", undefined, 2, "body"],
    );
    assert.deepEqual(headers, { "x-failed-reason": "Error: no text in it" });
  });

  check("after a broken connection it publishes again, and its consumers go on", async () => {
    await connected(broker);
    const seen: string[] = [];
    await broker.consume(queue, async ({ body }) => void seen.push(body), { prefetch: 2 });
    for (const round of ["1", "2"]) {
      await untilDone(() => broker.publish(queue, message(round)), "a publish");
      await until(() => seen.includes(round), "its delivery");
      proxy.cut();
      await assert.rejects(broker.publish(queue, message("lost")), isUnavailable);
    }
    await untilDone(() => broker.ping(), "a ping");
  });

  check("a message that ends its consumer each time is given up too", async () => {
    await connected(broker);
    const seen: Delivery[] = [];
    await broker.consume(
      queue,
      async (delivery) => {
        seen.push(delivery);
        const before = proxy.accepted;
        proxy.cut();
        await until(() => proxy.accepted > before, "a new connection");
      },
      { prefetch: 1 },
    );
    plain.sendToQueue(queue, Buffer.from("poison"), { messageId: "m1", persistent: true });
    await plain.assertQueue(`${queue}.failed`, { durable: true });
    const parked = await until(
      () => plain.get(`${queue}.failed`, { noAck: true }),
      "a parked message",
    );
    assert.ok(seen.length <= MAX_DELIVERIES, `${seen.length} deliveries`);
    assert.match(parked.properties.headers?.["x-failed-reason"], /ended before it answered/);
  });

  check("a consumer whose queue is deleted under it declares it and goes on", async () => {
    await connected(broker);
    const seen: string[] = [];
    await broker.consume(queue, async ({ body }) => void seen.push(body), { prefetch: 1 });
    await plain.deleteQueue(queue);
    await until(async () => {
      await broker.publish(queue, message("after")).catch(() => {});
      return seen.includes("after");
    }, "a delivery");
  });

  check(
    "a message that no queue takes is not taken for sent; the next finds its queue",
    async () => {
      await connected(broker);
      const other = `${queue}.other`;
      for (const name of [queue, other]) {
        await plain.deleteQueue(name);
        await assert.rejects(broker.publish(name, message("unroutable")), /could not route/);
        await broker.publish(name, message("second"));
        const read = await plain.get(name, { noAck: true });
        assert.ok(read);
        assert.equal(read.content.toString(), "second");
      }
    },
  );

  check("a queue with other arguments is a clear error, no loop, and heals", async () => {
    await plain.assertQueue(queue, { durable: true, arguments: { "x-max-length": 9 } });
    await broker.connect();
    await until(() => proxy.accepted > 0, "a connection");
    const refused = (error: Error) => {
      assert.match(String(error.cause), /PRECONDITION_FAILED - inequivalent arg 'x-max-length'/);
      return true;
    };
    await until(
      () => broker.ping().catch((error: Error) => /PRECONDITION/.test(String(error.cause))),
      "the refusal",
    );
    const accepted = proxy.accepted;
    for (let index = 0; index < 20; index++)
      await assert.rejects(broker.publish(queue, message()), refused);
    await assert.rejects(broker.ping(), refused);
    assert.equal(proxy.accepted, accepted, "the connection stays");
    await plain.deleteQueue(queue);
    await untilDone(() => broker.publish(queue, message()), "a publish");
    await broker.ping();
  });

  check("on a line gone dead neither publish, ping nor close waits for ever", async () => {
    await connected(broker);
    proxy.silent = true;
    await assert.rejects(broker.publish(queue, message()), isUnavailable);
    await assert.rejects(broker.ping(), isUnavailable);
    proxy.silent = false;
    proxy.cut();
    await untilDone(() => broker.publish(queue, message()), "a publish");
    proxy.silent = true;
    await broker.close();
  });

  check("cancel in the pause before a redelivery puts the message back, counted", async () => {
    await connected(broker);
    const failed: number[] = [];
    const consumer = await broker.consume(
      queue,
      async ({ deliveries }) => {
        failed.push(deliveries);
        throw new Error("again");
      },
      { prefetch: 1 },
    );
    await broker.publish(queue, message("again"));
    await until(() => failed.length === 3, "three failures"); // now a pause of a second
    await consumer.cancel();
    const read = await until(() => plain.get(queue, { noAck: true }), "the message");
    assert.equal(read.content.toString(), "again");
    assert.equal(read.properties.headers?.["x-deliveries"], failed.length);
  });
});

describe("RabbitMQ that is not there yet, or not well", () => {
  let server: PrivateRabbitMQ | { skip: string };
  before(async () => {
    server = await createPrivateRabbitMQ();
  });
  after(() => ("skip" in server ? undefined : server.dispose()));

  test("down at start, short of memory, healthy: each is survived without a restart", async (context) => {
    if ("skip" in server) return context.skip(server.skip);
    const { start, stop, url } = server;
    const broker = new RabbitMQBroker({ url, queue: "jobs", log: silent });
    try {
      const seen: string[] = [];
      await broker.connect();
      await assert.rejects(broker.ping(), isUnavailable);
      await assert.rejects(broker.publish("jobs", message()), isUnavailable);
      await broker.consume("jobs", async ({ body }) => void seen.push(body), { prefetch: 1 });

      await start("vm_memory_high_watermark.absolute = 1MiB\n");
      await untilDone(() => broker.ping(), "a ping");
      await assert.rejects(broker.publish("other", message("kept back")), isUnavailable);
      await assert.rejects(broker.ping(), isUnavailable);

      await stop();
      await start();
      await untilDone(() => broker.publish("jobs", message("at last")), "a publish");
      await until(() => seen.includes("at last"), "its delivery");
    } finally {
      await broker.close();
    }
  });
});
