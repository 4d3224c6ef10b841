import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Channel, type ChannelModel, connect } from "amqplib";
import type { Broker } from "../../src/broker/broker.ts";
import { EmbeddedBroker } from "../../src/broker/embedded.ts";
import { RabbitMQBroker } from "../../src/broker/rabbitmq.ts";
import { AzureServiceBusBroker } from "../../src/broker/service-bus.ts";
import { openSqlite } from "../../src/data/sqlite.ts";
import { createLogger } from "../../src/log.ts";
import { startServiceBusPeer } from "../broker/service-bus-peer.ts";
import { findRabbitMQ } from "../support/rabbitmq.ts";

export interface Stored {
  id: string;
  body: string;
}

/** One implementation, and a way past it to see what is in its queues. */
export interface BrokerUnderTest {
  /** A queue that is there and empty. */
  queue: string;
  /** A broker on the same store, connected; called again it stands for the next process. */
  open(): Promise<Broker>;
  /** What waits in the queue now, read without the broker's code. Nothing may be consuming it. */
  waiting(): Promise<Stored[]>;
  /** What was parked, with the reason. */
  parked(): Promise<(Stored & { reason: string })[]>;
  dispose(): Promise<void>;
}

export const silent = createLogger({ level: "error", readable: false, write: () => {} });

/** Waits until `condition` gives something, and returns it. */
export async function until<Value>(
  condition: () => Value | false | undefined | Promise<Value | false | undefined>,
  what: string,
  milliseconds = 60_000,
): Promise<Value> {
  const deadline = Date.now() + milliseconds;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`In vain waited for: ${what}`);
    await sleep(20);
  }
}

/** A short lease, so that a handler that takes long needs renewals. */
export const LEASE = 2_000;
const retryDelay = 10;

export async function embeddedUnderTest(): Promise<BrokerUnderTest> {
  const folder = await mkdtemp(join(tmpdir(), "broker-"));
  const file = join(folder, "queue.db");
  const reader = openSqlite({ file });
  const queue = "ocr_queue";
  const opened: (() => Promise<void>)[] = [];
  const rows = (name: string) =>
    reader.all<Stored & { reason: string }>(
      "SELECT message_id AS id, body, reason FROM Broker_Messages WHERE queue = @name ORDER BY broker_message_id",
      { name },
    );
  return {
    queue,
    async open() {
      const database = openSqlite({ file });
      const broker = new EmbeddedBroker({ database, log: silent, retryDelay, lease: LEASE });
      await broker.connect();
      opened.push(() => broker.close().then(() => database.close()));
      return broker;
    },
    waiting: () => rows(queue),
    parked: () => rows(`${queue}.failed`),
    async dispose() {
      for (const close of opened) await close();
      await reader.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export async function serviceBusUnderTest(): Promise<BrokerUnderTest> {
  const peer = await startServiceBusPeer();
  const name = "ocr_queue";
  const queue = peer.addQueue(name, { lockDuration: LEASE, maxDeliveryCount: 10 });
  const brokers: Broker[] = [];
  return {
    queue: name,
    async open() {
      const broker = new AzureServiceBusBroker({
        connectionString: peer.connectionString,
        log: silent,
        retryDelay,
      });
      await broker.connect();
      brokers.push(broker);
      return broker;
    },
    waiting: async () => queue.messages.map(({ id, body }) => ({ id, body: body.toString() })),
    parked: async () =>
      queue.deadLetters.map(({ message, reason }) => ({
        id: message.id,
        body: message.body.toString(),
        reason,
      })),
    async dispose() {
      for (const broker of brokers) await broker.close();
      await peer.close();
    },
  };
}

/** RabbitMQ as `findRabbitMQ` finds it, with queues of the test's own; or why there is none. */
export async function rabbitMQUnderTest(): Promise<BrokerUnderTest | { skip: string }> {
  const server = await findRabbitMQ();
  if ("skip" in server) return server;
  const queue = `nassaq_test_${randomUUID()}`;
  const connection: ChannelModel = await connect(server.url);
  const reader: Channel = await connection.createChannel();
  await reader.assertQueue(queue, { durable: true });
  const brokers: Broker[] = [];

  /** Looks at a queue by taking what is ready, and gives it all back. */
  async function look(name: string) {
    const looking = await connection.createChannel();
    await looking.assertQueue(name, { durable: true });
    const found: (Stored & { reason: string })[] = [];
    for (;;) {
      const message = await looking.get(name);
      if (message === false) break;
      const { messageId, headers } = message.properties;
      found.push({
        id: messageId,
        body: message.content.toString(),
        reason: headers?.["x-failed-reason"],
      });
    }
    await looking.close();
    return found;
  }

  return {
    queue,
    async open() {
      const broker = new RabbitMQBroker({ url: server.url, queue, log: silent, retryDelay });
      await broker.connect();
      brokers.push(broker);
      return broker;
    },
    waiting: () => look(queue),
    parked: () => look(`${queue}.failed`),
    async dispose() {
      for (const broker of brokers) await broker.close();
      await reader.deleteQueue(queue);
      await reader.deleteQueue(`${queue}.failed`);
      await connection.close();
      await server.dispose();
    },
  };
}
