import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Channel, type ChannelModel, connect } from "amqplib";
import type { Broker, ConsumingBroker } from "../../src/broker/broker.ts";
import { EmbeddedBroker } from "../../src/broker/embedded.ts";
import { RabbitMQBroker } from "../../src/broker/rabbitmq.ts";
import { AzureServiceBusBroker } from "../../src/broker/service-bus.ts";
import { openSqlite } from "../../src/data/sqlite.ts";
import { createLogger } from "../../src/log.ts";
import { startServiceBusPeer } from "../broker/service-bus-peer.ts";
import { findRabbitMQ } from "../support/rabbitmq.ts";
import { until } from "../support/wait.ts";

export interface Stored {
  id: string;
  body: string;
}

/** One implementation, and a way past it to see what is in its queue. */
export interface BrokerUnderTest<Kind extends Broker = Broker> {
  /** A queue that is there and empty. */
  queue: string;
  /** A broker on the same store, connected; called again it stands for the next process. */
  open(): Promise<Kind>;
  /** What waits in the queue now, read without the broker's code. Nothing may be consuming it. */
  waiting(): Promise<Stored[]>;
  /** Forgets what waits and what was parked, without the broker's code. */
  clear(): Promise<void>;
  dispose(): Promise<void>;
}

export interface ConsumingBrokerUnderTest extends BrokerUnderTest<ConsumingBroker> {
  /** What was parked, with the reason. */
  parked(): Promise<(Stored & { reason: string })[]>;
}

export const silent = createLogger({ level: "error", readable: false, write: () => {} });

export const message = (body = '{"doc_id":1}') => ({ id: randomUUID(), body });

/** Repeats what fails until it succeeds. */
export async function untilDone(attempt: () => Promise<unknown>, what: string): Promise<void> {
  await until(
    () =>
      attempt().then(
        () => true,
        () => false,
      ),
    what,
  );
}

/** Connects and waits until messages can be published: `connect` itself waits a few seconds only. */
export async function connected<Kind extends Broker>(broker: Kind): Promise<Kind> {
  await broker.connect();
  await untilDone(() => broker.ping(), `${broker.description} to be ready`);
  return broker;
}

export async function embeddedUnderTest(): Promise<ConsumingBrokerUnderTest> {
  const folder = await mkdtemp(join(tmpdir(), "broker-"));
  const file = join(folder, "queue.db");
  const reader = openSqlite({ file });
  const queue = "ocr_queue";
  const opened: (() => Promise<void>)[] = [];
  const rows = (name: string) =>
    reader.all<Stored & { reason: string }>(
      `SELECT message_id AS id, body, reason FROM Broker_Messages
       WHERE queue = @name ORDER BY broker_message_id`,
      { name },
    );
  return {
    queue,
    async open() {
      const database = openSqlite({ file });
      const broker = await connected(new EmbeddedBroker({ database, log: silent }));
      opened.push(() => broker.close().then(() => database.close()));
      return broker;
    },
    waiting: () => rows(queue),
    parked: () => rows(`${queue}.failed`),
    clear: async () => void (await reader.run("DELETE FROM Broker_Messages")),
    async dispose() {
      for (const close of opened) await close();
      await reader.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export async function serviceBusUnderTest(): Promise<BrokerUnderTest> {
  const peer = await startServiceBusPeer();
  const { connectionString } = peer;
  const queue = "ocr_queue";
  const messages = peer.addQueue(queue);
  return {
    queue,
    open: () => connected(new AzureServiceBusBroker({ connectionString })),
    waiting: async () => messages.map(({ id, body }) => ({ id, body: body.toString() })),
    clear: async () => void messages.splice(0),
    dispose: () => peer.close(),
  };
}

/** RabbitMQ as `findRabbitMQ` finds it, with a queue of the test's own; or why there is none. */
export async function rabbitMQUnderTest(): Promise<ConsumingBrokerUnderTest | { skip: string }> {
  const server = await findRabbitMQ();
  if ("skip" in server) return server;
  const queue = `nassaq_test_${randomUUID()}`;
  const connection: ChannelModel = await connect(server.url);
  const reader: Channel = await connection.createChannel();
  const names = [queue, `${queue}.failed`];
  for (const name of names) await reader.assertQueue(name, { durable: true });
  const brokers: Broker[] = [];

  /** Looks at a queue by taking what is ready, and gives it all back. */
  async function look(name: string) {
    const looking = await connection.createChannel();
    await looking.assertQueue(name, { durable: true });
    const found: (Stored & { reason: string })[] = [];
    for (;;) {
      const taken = await looking.get(name);
      if (taken === false) break;
      const { messageId: id, headers } = taken.properties;
      found.push({ id, body: taken.content.toString(), reason: headers?.["x-failed-reason"] });
    }
    await looking.close();
    return found;
  }

  return {
    queue,
    async open() {
      const broker = new RabbitMQBroker({ url: server.url, queue, log: silent });
      brokers.push(broker);
      return await connected(broker);
    },
    waiting: () => look(queue),
    parked: () => look(`${queue}.failed`),
    async clear() {
      for (const name of names) await reader.purgeQueue(name);
    },
    async dispose() {
      for (const broker of brokers) await broker.close();
      for (const name of names) await reader.deleteQueue(name);
      await connection.close();
      await server.dispose();
    },
  };
}
