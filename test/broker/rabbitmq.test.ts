import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, beforeEach, describe, type TestContext, test } from "node:test";
import { type Channel, type ChannelModel, connect } from "amqplib";
import { type Delivery, MAX_DELIVERIES } from "../../src/broker/broker.ts";
import { RabbitMQBroker } from "../../src/broker/rabbitmq.ts";
import { createLogger } from "../../src/log.ts";
import { silent, until } from "../contracts/broker.ts";
import { createPrivateRabbitMQ, findRabbitMQ, type PrivateRabbitMQ } from "../support/rabbitmq.ts";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.ts";

const message = (body = '{"doc_id":1}') => ({ id: randomUUID(), body });
const isUnavailable = { name: "AppError", code: "unavailable" };

async function withBroker(
  url: string,
  queue: string,
  work: (broker: RabbitMQBroker) => Promise<void>,
  log = silent,
) {
  const broker = new RabbitMQBroker({ url, queue, log, retryDelay: 10 });
  try {
    await work(broker);
  } finally {
    await broker.close();
  }
}

describe("RabbitMQ that is there", () => {
  let server: { url: string; dispose(): Promise<void> } | { skip: string };
  let proxy: TcpProxy;
  let url: string;
  let direct: ChannelModel;
  let plain: Channel;
  let queue: string;

  before(async () => {
    server = await findRabbitMQ();
    if ("skip" in server) return;
    const target = new URL(server.url);
    proxy = await startTcpProxy(Number(target.port || 5672), target.hostname);
    target.hostname = "127.0.0.1";
    target.port = String(proxy.port);
    url = target.href;
    direct = await connect(server.url);
    plain = await direct.createChannel();
  });
  beforeEach(() => {
    queue = `nassaq_test_${randomUUID()}`;
  });
  after(async () => {
    if ("skip" in server) return;
    await direct.close();
    await proxy.close();
    await server.dispose();
  });

  function check(what: string, work: () => Promise<void>): void {
    test(what, async (context: TestContext) => {
      if ("skip" in server) {
        context.skip(server.skip);
        return;
      }
      try {
        await work();
      } finally {
        proxy.silent = false;
        await plain.deleteQueue(queue);
        await plain.deleteQueue(`${queue}.failed`);
      }
    });
  }

  check("its queue is declared when it connects, before any message", async () => {
    await withBroker(url, queue, async (broker) => {
      await broker.connect();
      assert.deepEqual(await plain.checkQueue(queue), { queue, messageCount: 0, consumerCount: 0 });
    });
  });

  check(
    "a consumer without our code reads the exact body, persistent, with a type and an id",
    async () => {
      await withBroker(url, queue, async (broker) => {
        await broker.connect();
        const body = {
          doc_id: 42,
          file_path: "http://x/a%20b.pdf",
          filename: "تقرير.pdf",
          user_id: 7,
        };
        const sent = message(JSON.stringify(body));
        await broker.publish(queue, sent);
        await plain.assertQueue(queue, { durable: true });
        const read = await plain.get(queue, { noAck: true });
        assert.ok(read);
        assert.equal(read.content.toString(), sent.body);
        assert.deepEqual(Object.keys(JSON.parse(read.content.toString())), Object.keys(body));
        assert.equal(read.properties.contentType, "application/json");
        assert.equal(read.properties.messageId, sent.id);
        assert.equal(read.properties.deliveryMode, 2);
      });
    },
  );

  check(
    "a parked message says why, how often it failed and where, and keeps its other properties",
    async () => {
      await withBroker(url, queue, async (broker) => {
        await broker.connect();
        const consumer = await broker.consume(
          queue,
          () => Promise.reject(new Error("no text in it")),
          {
            prefetch: 1,
          },
        );
        const options = {
          messageId: "m1",
          type: "job",
          headers: { tenant: "a" },
          expiration: "600000",
        };
        plain.sendToQueue(queue, Buffer.from("body"), options);
        await plain.assertQueue(`${queue}.failed`, { durable: true });
        const parked = await until(
          () => plain.get(`${queue}.failed`, { noAck: true }),
          "a parked message",
        );
        await consumer.cancel();
        const { messageId, type, headers, expiration } = parked.properties;
        assert.deepEqual(
          [messageId, type, expiration, parked.content.toString()],
          ["m1", "job", undefined, "body"],
        );
        assert.deepEqual(headers, {
          tenant: "a",
          "x-failed-reason": "no text in it",
          "x-failed-deliveries": MAX_DELIVERIES,
          "x-failed-queue": queue,
        });
      });
    },
  );

  check("after a broken connection it publishes again, and its consumers go on", async () => {
    await withBroker(url, queue, async (broker) => {
      await broker.connect();
      const seen: string[] = [];
      await broker.consume(queue, async ({ body }) => void seen.push(body), { prefetch: 2 });
      for (const round of ["1", "2", "3"]) {
        await until(
          () =>
            broker.publish(queue, message(round)).then(
              () => true,
              () => undefined,
            ),
          "a publish",
        );
        await until(() => seen.includes(round), "its delivery");
        proxy.cut();
        await assert.rejects(broker.publish(queue, message("lost")), isUnavailable);
      }
      await until(
        () =>
          broker.ping().then(
            () => true,
            () => undefined,
          ),
        "a ping",
      );
    });
  });

  check("a message that ends its consumer each time is given up too", async () => {
    await withBroker(url, queue, async (broker) => {
      await broker.connect();
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
      assert.equal(parked.properties.headers?.["x-failed-deliveries"], MAX_DELIVERIES);
      assert.match(parked.properties.headers?.["x-failed-reason"], /ended before it answered/);
    });
  });

  check("a consumer whose queue is deleted under it declares it and goes on", async () => {
    await withBroker(url, queue, async (broker) => {
      await broker.connect();
      const seen: string[] = [];
      await broker.consume(queue, async ({ body }) => void seen.push(body), { prefetch: 1 });
      await plain.deleteQueue(queue);
      await until(async () => {
        await broker.publish(queue, message("after")).catch(() => {});
        return seen.includes("after");
      }, "a delivery");
    });
  });

  check(
    "a message that no queue takes is not taken for sent, and the next one finds its queue",
    async () => {
      await withBroker(url, queue, async (broker) => {
        await broker.connect();
        await broker.publish(queue, message("first"));
        await plain.deleteQueue(queue);
        await assert.rejects(broker.publish(queue, message("unroutable")), /could not route/);
        await broker.publish(queue, message("second"));
        const read = await plain.get(queue, { noAck: true });
        assert.ok(read);
        assert.equal(read.content.toString(), "second");
      });
    },
  );

  check(
    "a queue that exists with other arguments is a clear error: no loop, and no harm to others",
    async () => {
      const other = `${queue}.failed`;
      await plain.assertQueue(queue, { durable: true, arguments: { "x-max-length": 9 } });
      const lines: string[] = [];
      const log = createLogger({
        level: "debug",
        readable: false,
        write: (line) => lines.push(line),
      });
      await withBroker(
        url,
        queue,
        async (broker) => {
          await broker.connect();
          await broker.consume(queue, async () => {}, { prefetch: 1 });
          const accepted = proxy.accepted;
          for (let index = 0; index < 100; index++) {
            await assert.rejects(broker.publish(queue, message()), {
              message: /refused to declare the queue .* no other argument with code 406/,
            });
          }
          await assert.rejects(broker.ping(), /refused to declare the queue/);
          await broker.publish(other, message());
          assert.equal(proxy.accepted, accepted);
          assert.ok(lines.length < 20, `${lines.length} lines`);
          await plain.deleteQueue(queue);
          await until(
            () =>
              broker.publish(queue, message()).then(
                () => true,
                () => undefined,
              ),
            "a publish",
          );
          await broker.ping();
        },
        log,
      );
    },
  );

  check(
    "a line gone dead is noticed, and neither publish, ping nor close waits for ever",
    async () => {
      const dead = new URL(url);
      dead.searchParams.set("heartbeat", "1");
      await withBroker(dead.href, queue, async (broker) => {
        await broker.connect();
        await broker.publish(queue, message());
        proxy.silent = true;
        await assert.rejects(broker.publish(queue, message()), isUnavailable);
        await assert.rejects(broker.ping(), isUnavailable);
        proxy.silent = false;
        proxy.cut();
        await until(
          () =>
            broker.publish(queue, message()).then(
              () => true,
              () => undefined,
            ),
          "a publish",
        );
        proxy.silent = true;
        await broker.close();
      });
    },
  );

  check("cancel during a pause before a redelivery puts the message back at once", async () => {
    const broker = new RabbitMQBroker({ url, queue, log: silent, retryDelay: 3_600_000 });
    await broker.connect();
    let failed = false;
    const consumer = await broker.consume(
      queue,
      async () => {
        failed = true;
        throw new Error("once");
      },
      { prefetch: 1 },
    );
    await broker.publish(queue, message("again"));
    await until(() => failed, "a failure");
    await consumer.cancel();
    await broker.close();
    const read = await until(() => plain.get(queue, { noAck: true }), "the message");
    assert.equal(read.content.toString(), "again");
    assert.equal(read.properties.headers?.["x-deliveries"], 1);
  });
});

describe("RabbitMQ that is not there yet, or not well", () => {
  let server: PrivateRabbitMQ | { skip: string };
  before(async () => {
    server = await createPrivateRabbitMQ();
  });
  after(() => ("skip" in server ? undefined : server.dispose()));

  test("down at start, short of memory, healthy: each is survived without a restart", async (context) => {
    if ("skip" in server) {
      context.skip(server.skip);
      return;
    }
    const { start, stop, url } = server;
    await withBroker(url, "jobs", async (broker) => {
      const seen: string[] = [];
      await broker.connect();
      await assert.rejects(broker.ping(), isUnavailable);
      await assert.rejects(broker.publish("jobs", message()), isUnavailable);
      await broker.consume("jobs", async ({ body }) => void seen.push(body), { prefetch: 1 });

      await start("vm_memory_high_watermark.absolute = 1MiB\n");
      await until(
        () =>
          broker.ping().then(
            () => true,
            () => undefined,
          ),
        "a ping",
      );
      await assert.rejects(broker.publish("other", message("kept back")), isUnavailable);
      await assert.rejects(broker.ping(), isUnavailable);
      await assert.rejects(broker.publish("other", message("refused at once")), (error: Error) => {
        assert.match(String(error.cause), /blocks publishers/);
        return true;
      });

      await stop();
      await start();
      await until(
        () =>
          broker.publish("jobs", message("at last")).then(
            () => true,
            () => undefined,
          ),
        "a publish",
      );
      await until(() => seen.includes("at last"), "its delivery");
    });
  });
});
