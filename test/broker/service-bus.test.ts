import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Delivery, MAX_DELIVERIES } from "../../src/broker/broker.ts";
import { AzureServiceBusBroker } from "../../src/broker/service-bus.ts";
import { createLogger } from "../../src/log.ts";
import { silent, until } from "../contracts/broker.ts";
import { type PeerQueue, type ServiceBusPeer, startServiceBusPeer } from "./service-bus-peer.ts";

const QUEUE = "ocr_queue";
const MINUTE = 60_000;
const message = (body = '{"doc_id":1}') => ({ id: randomUUID(), body });
const isUnavailable = { name: "AppError", code: "unavailable" };

let peer: ServiceBusPeer;
let queue: PeerQueue;
const brokers: AzureServiceBusBroker[] = [];

beforeEach(async () => {
  peer = await startServiceBusPeer();
  queue = peer.addQueue(QUEUE);
});
afterEach(async () => {
  await Promise.all(brokers.splice(0).map((broker) => broker.close()));
  await peer.close();
});

function open(options: { connectionString?: string; now?: () => Date; log?: typeof silent } = {}) {
  const broker = new AzureServiceBusBroker({
    connectionString: peer.connectionString,
    log: silent,
    retryDelay: 10,
    ...options,
  });
  brokers.push(broker);
  return broker;
}

describe("Service Bus connection string", () => {
  const key = "aB+c/dE0123456789abcdefghijklmnopqrstuvwxyz+/=";

  test("is read in any order, with spaces, other cases and a final semicolon; its key may hold + / and =", async () => {
    const endpoint = /sb:\/\/[^;]+/.exec(peer.connectionString)?.[0];
    const connectionString = ` SharedAccessKey=${key} ;useDevelopmentEmulator=True;sharedaccesskeyname=RootManageSharedAccessKey;ENDPOINT=${endpoint};`;
    await open({ connectionString }).publish(QUEUE, message());
    assert.equal(queue.messages.length, 1);
    assert.deepEqual(peer.refusals, []);
  });

  test("means HTTPS unless it is the emulator's", () => {
    const connectionString = `Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=${key}`;
    assert.equal(
      open({ connectionString }).description,
      "Azure Service Bus at ns.servicebus.windows.net",
    );
  });

  test("bound to one queue serves that queue only", async () => {
    const broker = open({ connectionString: `${peer.connectionString};EntityPath=${QUEUE}` });
    await broker.publish(QUEUE, message());
    await assert.rejects(
      broker.publish("other", message()),
      /is for the queue ocr_queue, not other/,
    );
  });

  for (const [fault, connectionString] of [
    ["Endpoint", `SharedAccessKeyName=n;SharedAccessKey=${key}`],
    ["SharedAccessKeyName", `Endpoint=sb://h;SharedAccessKey=${key}`],
    ["SharedAccessKey", "Endpoint=sb://h;SharedAccessKeyName=n;SharedAccessKey="],
    ["Endpoint", `Endpoint=https://h;SharedAccessKeyName=n;SharedAccessKey=${key}`],
    ["Endpoint", `Endpoint=sb://h:x/path;SharedAccessKeyName=n;SharedAccessKey=${key}`],
  ] as const) {
    test(`with a bad ${fault} is refused by name, without its values (${connectionString.slice(0, 20)}…)`, () => {
      assert.throws(
        () => open({ connectionString }),
        (error: Error) => {
          assert.match(error.message, new RegExp(`\\b${fault}\\b`));
          assert.doesNotMatch(`${error.stack}${JSON.stringify(error)}`, /aB\+c/);
          return true;
        },
      );
    });
  }
});

describe("Service Bus tokens", () => {
  test("are renewed before they run out", async () => {
    let time = Date.now();
    peer.now = () => time;
    const broker = open({ now: () => new Date(time) });
    for (let passed = 0; passed < 180; passed += 4) {
      await broker.publish(QUEUE, message());
      time += 4 * MINUTE;
    }
    assert.deepEqual(peer.refusals, []);
  });

  test("that the service takes for expired are replaced, once, and the message goes", async () => {
    let time = Date.now();
    const broker = open({ now: () => new Date(time) });
    await broker.publish(QUEUE, message());
    time += 30 * MINUTE; // a clock that runs slow
    peer.now = () => Date.now() + 61 * MINUTE;
    await broker.publish(QUEUE, message());
    assert.deepEqual(peer.refusals, ["expired"]);
    assert.equal(queue.messages.length, 2);
  });

  test("made with a wrong key are a clear error, tried twice, and told by ping until one is accepted", async () => {
    const lines: string[] = [];
    const log = createLogger({
      level: "debug",
      readable: false,
      write: (line) => lines.push(line),
    });
    const connectionString = peer.connectionString.replace("aB+c", "Xy+z");
    const broker = open({ connectionString, log });
    await assert.rejects(broker.publish(QUEUE, message()), (error: Error) => {
      assert.match(error.message, /status 401: the key is not accepted/);
      assert.doesNotMatch(`${error.stack}${lines.join()}`, /Xy\+z|SharedAccessSignature/);
      return true;
    });
    assert.deepEqual(peer.refusals, ["wrong signature", "wrong signature"]);
    await assert.rejects(broker.ping(), /401/);
  });
});

describe("Service Bus publish", () => {
  test("carries the exact body, a JSON type and the message id", async () => {
    const sent = { id: "id-é-١", body: '{"filename":"تقرير.pdf"}' };
    await open().publish(QUEUE, sent);
    const [stored] = queue.messages;
    assert.equal(stored?.body.toString(), sent.body);
    assert.equal(stored?.contentType, "application/json");
    assert.equal(stored?.id, sent.id);
  });

  for (const [status, reason] of [
    [404, /queue does not exist/],
    [410, /queue does not exist/],
    [403, /too large/],
    [400, /status 400/],
  ] as const) {
    test(`${status} is this queue's or message's own fault`, async () => {
      const broker = open();
      peer.fault = (_method, path) => (path === "/" ? undefined : { status });
      await assert.rejects(broker.publish(QUEUE, message()), { name: "Error", message: reason });
      await assert.rejects(broker.ping(), reason);
      peer.fault = () => undefined;
      await broker.publish(QUEUE, message());
      await broker.ping();
    });
  }

  for (const status of [408, 429, 500, 503]) {
    test(`after ${status} the service gets the rest that it asks for`, async () => {
      const broker = open();
      peer.fault = () => ({ status, headers: { "Retry-After": "1" } });
      await assert.rejects(broker.publish(QUEUE, message()), isUnavailable);
      peer.fault = () => undefined;
      const asked = peer.requests.length;
      await assert.rejects(broker.publish(QUEUE, message()), isUnavailable);
      await assert.rejects(broker.ping(), isUnavailable);
      assert.equal(peer.requests.length, asked);
      const accepted = () =>
        broker.publish(QUEUE, message()).then(
          () => true,
          () => undefined,
        );
      await until(accepted, "a publish");
      await broker.ping();
    });
  }

  test("to a service that is not there, or does not answer, ends with a time-out", async () => {
    const broker = open();
    peer.fault = () => "hang";
    await assert.rejects(broker.publish(QUEUE, message()), isUnavailable);
    await assert.rejects(broker.ping(), isUnavailable);
    const nobody = open({
      connectionString: peer.connectionString.replace(/127\.0\.0\.1:\d+/, "127.0.0.1:1"),
    });
    await nobody.connect();
    await assert.rejects(nobody.publish(QUEUE, message()), isUnavailable);
  });
});

describe("Service Bus consumer", () => {
  for (const status of [404, 410]) {
    test(`a lost lock (${status}): the message comes again, counted, and is deleted by the one who holds it`, async () => {
      queue.lockDuration = 1_000;
      peer.lockLost = status;
      const isRenewal = (method: string, path: string) =>
        method === "POST" && !/\/(messages|head|)$/.test(path);
      peer.fault = (method, path) => (isRenewal(method, path) ? { status: 500 } : undefined);
      const seen: Delivery[] = [];
      const sent = message();
      const broker = open();
      await broker.publish(QUEUE, sent);
      const consumer = await broker.consume(
        QUEUE,
        async (delivery) => {
          seen.push(delivery);
          if (seen.length === 1) await until(() => seen.length === 2, "the second delivery");
        },
        { prefetch: 2 },
      );
      await until(() => queue.messages.length === 0, "an empty queue");
      await consumer.cancel();
      assert.deepEqual(seen, [
        { ...sent, deliveries: 1 },
        { ...sent, deliveries: 2 },
      ]);
      assert.deepEqual(queue.deadLetters, []);
    });
  }

  test("a delete that fails for a moment is repeated, and the handler does not run again", async () => {
    let faults = 2;
    peer.fault = (method) => {
      if (method !== "DELETE" || faults === 0) return undefined;
      faults -= 1;
      return { status: 503 };
    };
    let runs = 0;
    const broker = open();
    await broker.publish(QUEUE, message());
    await broker.consume(
      QUEUE,
      async () => {
        runs += 1;
      },
      { prefetch: 1 },
    );
    await until(() => queue.messages.length === 0, "an empty queue");
    assert.equal(runs, 1);
  });

  test("with MaxDeliveryCount as recommended a failing message is dead-lettered at its last delivery", async () => {
    queue.maxDeliveryCount = MAX_DELIVERIES;
    let runs = 0;
    const broker = open();
    await broker.publish(QUEUE, message());
    await broker.consume(
      QUEUE,
      async () => {
        runs += 1;
        throw new Error("no");
      },
      { prefetch: 1 },
    );
    await until(() => queue.deadLetters.length === 1, "a dead letter");
    assert.equal(runs, MAX_DELIVERIES);
    assert.equal(queue.messages.length, 0);
  });

  test("throttling, faults, a missing queue and an answer at once are met with pauses, and it goes on", async () => {
    const faults = [429, 500, 404];
    peer.fault = (method, path) => {
      const status = path.endsWith("/head") && method === "POST" ? faults.shift() : undefined;
      return status === undefined ? undefined : { status, headers: { "Retry-After": "0" } };
    };
    const broker = open();
    const seen: Delivery[] = [];
    await broker.consume(QUEUE, async (delivery) => void seen.push(delivery), { prefetch: 1 });
    await broker.publish(QUEUE, message());
    await until(() => seen.length === 1, "a delivery");
    peer.fault = (_method, path) => (path.endsWith("/head") ? { status: 204 } : undefined);
    await broker.publish(QUEUE, message());
    const asked = peer.requests.length;
    await sleep(300);
    assert.ok(peer.requests.length - asked <= 2, "no hot loop on an empty answer");
  });

  test("cancel does not wait for a receive that is held open", async () => {
    const broker = open();
    const consumer = await broker.consume(QUEUE, async () => {}, { prefetch: 1 });
    await until(() => peer.requests.some((line) => line.endsWith("/head")), "a receive");
    const asked = performance.now();
    await consumer.cancel();
    assert.ok(performance.now() - asked < 10_000, "half of the poll's 20 s");
  });
});
