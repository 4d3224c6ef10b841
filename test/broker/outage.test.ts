import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "amqplib";
import { createDispatcher } from "../../src/broker/dispatcher.ts";
import { RabbitMQBroker } from "../../src/broker/rabbitmq.ts";
import { addToOutbox } from "../../src/data/outbox.ts";
import { openSqlite } from "../../src/data/sqlite.ts";
import { connected, silent, untilDone } from "../contracts/broker.ts";
import { createPrivateRabbitMQ, type PrivateRabbitMQ } from "../support/rabbitmq.ts";
import { until } from "../support/wait.ts";

const MESSAGES = 200;

/** Everything in a queue, read by amqplib alone. */
async function readAll(url: string, queue: string): Promise<{ id: string; body: string }[]> {
  const connection = await connect(url);
  const channel = await connection.createChannel();
  const { messageCount } = await channel.checkQueue(queue);
  const messages: { id: string; body: string }[] = [];
  for (let index = 0; index < messageCount; index++) {
    const message = await channel.get(queue, { noAck: true });
    if (message)
      messages.push({ id: message.properties.messageId, body: message.content.toString() });
  }
  await connection.close();
  return messages;
}

describe("outbox and a RabbitMQ that goes away", () => {
  let server: PrivateRabbitMQ | { skip: string };
  before(async () => {
    server = await createPrivateRabbitMQ();
    if (!("skip" in server)) await server.start();
  });
  after(() => ("skip" in server ? undefined : server.dispose()));

  for (const how of ["stop", "kill"] as const) {
    test(`200 messages, the broker ${how === "stop" ? "stopped" : "killed"} among them: 200 distinct ones arrive`, (context) =>
      outage(context, how));
  }

  async function outage(context: TestContext, how: "stop" | "kill"): Promise<void> {
    if ("skip" in server) {
      context.skip(server.skip);
      return;
    }
    const queue = `outage_${how}`;
    const database = openSqlite({ file: ":memory:" });
    await database.migrate();
    const broker = new RabbitMQBroker({ url: server.url, queue, log: silent });
    await connected(broker);
    // RabbitMQ writes a declaration to disk some seconds after it confirmed it, or when it stops in
    // order. Killed before, it loses the queue and with it all messages that it confirmed.
    await server.stop();
    await server.start();
    await untilDone(() => broker.ping(), "a ping");
    const dispatcher = createDispatcher({ database, broker, log: silent, now: () => new Date() });
    dispatcher.start();
    const left = async () => (await database.all("SELECT outbox_id FROM Outbox")).length;
    try {
      const added: { id: string; body: string }[] = [];
      let ended: Promise<void> | undefined;
      for (let doc_id = 1; doc_id <= MESSAGES; doc_id++) {
        const message = {
          id: randomUUID(),
          body: JSON.stringify({
            doc_id,
            file_path: `http://x/${doc_id}`,
            filename: "ملف.pdf",
            user_id: 7,
          }),
        };
        const row = { doc_id, queue, message_id: message.id, body: message.body };
        await database.transaction((tx) => addToOutbox(tx, row, new Date()));
        added.push(message);
        dispatcher.notify();
        if (doc_id === 60) {
          await until(async () => (await left()) < 60, "first messages sent");
          ended = server[how]();
        }
        if (doc_id === 160) await ended; // the rest comes when it is surely down
        await sleep(5);
      }
      const isTried = "SELECT outbox_id FROM Outbox WHERE attempts > 0";
      await until(() => database.first(isTried), "an attempt in vain");
      await server.start();
      await until(async () => (await left()) === 0, "an empty outbox");
      const arrived = await readAll(server.url, queue);
      const byId = new Map(arrived.map(({ id, body }) => [id, body]));
      assert.deepEqual(byId, new Map(added.map(({ id, body }) => [id, body])));
    } finally {
      await dispatcher.stop();
      await broker.close();
      await database.close();
    }
  }
});
