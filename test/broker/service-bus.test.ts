import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { AzureServiceBusBroker } from "../../src/broker/service-bus.ts";
import { message } from "../contracts/broker.ts";
import { type PeerMessage, type ServiceBusPeer, startServiceBusPeer } from "./service-bus-peer.ts";

const QUEUE = "ocr_queue";
const isUnavailable = { name: "AppError", code: "unavailable" };

let peer: ServiceBusPeer;
let queue: PeerMessage[];

beforeEach(async () => {
  peer = await startServiceBusPeer();
  queue = peer.addQueue(QUEUE);
});
afterEach(() => peer.close());

const open = (connectionString = peer.connectionString) =>
  new AzureServiceBusBroker({ connectionString });

describe("Service Bus connection string", () => {
  const key = "aB+c/dE0123456789abcdefghijklmnopqrstuvwxyz+/=";

  test("is read in any order and case, with spaces; its key may hold + / and =", async () => {
    const endpoint = /sb:\/\/[^;]+/.exec(peer.connectionString)?.[0];
    const connectionString =
      ` SharedAccessKey=${key} ;useDevelopmentEmulator=True;` +
      `sharedaccesskeyname=RootManageSharedAccessKey;ENDPOINT=${endpoint};`;
    await open(connectionString).publish(QUEUE, message());
    assert.equal(queue.length, 1);
    assert.deepEqual(peer.refusals, []);
  });

  test("means HTTPS unless it is the emulator's", async (t) => {
    const asked: string[] = [];
    t.mock.method(globalThis, "fetch", async (url: string) => {
      asked.push(url);
      return new Response(null, { status: 201 });
    });
    const broker = open(
      `Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=${key}`,
    );
    await broker.publish(QUEUE, message());
    assert.deepEqual(asked, ["https://ns.servicebus.windows.net/ocr_queue/messages"]);
    assert.equal(broker.description, "Azure Service Bus at ns.servicebus.windows.net");
  });

  for (const [fault, connectionString] of [
    ["Endpoint", `SharedAccessKeyName=n;SharedAccessKey=${key}`],
    ["Endpoint", `Endpoint=sb://h:x/path;SharedAccessKeyName=n;SharedAccessKey=${key}`],
  ] as const) {
    test(`with a bad ${fault} is refused by name, without its values (${connectionString.slice(0, 20)}…)`, () => {
      assert.throws(
        () => open(connectionString),
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
  test("are good for a peer whose clock is half an hour ahead or behind", async () => {
    for (const minutes of [30, -30]) {
      peer.now = () => Date.now() + minutes * 60_000;
      await open().publish(QUEUE, message());
    }
    assert.deepEqual(peer.refusals, []);
  });

  test("made with a wrong key are a clear error, told by ping until one is accepted", async () => {
    const broker = open(peer.connectionString.replace("aB+c", "Xy+z"));
    await assert.rejects(broker.publish(QUEUE, message()), (error: Error) => {
      assert.match(error.message, /queue ocr_queue with status 401/);
      assert.doesNotMatch(`${error.stack}`, /Xy\+z|SharedAccessSignature/);
      return true;
    });
    assert.deepEqual(peer.refusals, ["wrong signature"]);
    await assert.rejects(broker.ping(), /401/);
  });
});

describe("Service Bus publish", () => {
  test("carries the exact body, a JSON type and the message id", async () => {
    const sent = message('{"filename":"تقرير.pdf"}');
    await open().publish(QUEUE, sent);
    assert.deepEqual(queue, [
      { id: sent.id, body: Buffer.from(sent.body), contentType: "application/json" },
    ]);
  });

  for (const status of [400, 403, 404, 410]) {
    test(`${status} is this queue's or message's own fault`, async () => {
      const broker = open();
      peer.fault = (path) => (path === "/" ? undefined : status);
      const refused = { name: "Error", message: new RegExp(`ocr_queue with status ${status}`) };
      await assert.rejects(broker.publish(QUEUE, message()), refused);
      await assert.rejects(broker.ping(), refused);
      peer.fault = () => undefined;
      await broker.publish(QUEUE, message());
      await broker.ping();
    });
  }

  for (const status of [408, 429, 500, 503]) {
    test(`${status} is a service that takes nothing at the moment`, async () => {
      const broker = open();
      peer.fault = () => status;
      await assert.rejects(broker.publish(QUEUE, message()), isUnavailable);
      await assert.rejects(broker.ping(), isUnavailable);
      peer.fault = () => undefined;
      await broker.ping();
    });
  }

  test("to a service that is not there, or does not answer, ends with a time-out", async () => {
    const broker = open();
    peer.fault = () => "hang";
    await assert.rejects(broker.publish(QUEUE, message()), isUnavailable);
    await assert.rejects(broker.ping(), isUnavailable);
    const nobody = open(peer.connectionString.replace(/127\.0\.0\.1:\d+/, "127.0.0.1:1"));
    await nobody.connect();
    await assert.rejects(nobody.publish(QUEUE, message()), isUnavailable);
  });
});
