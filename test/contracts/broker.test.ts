import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type Broker,
  type ConsumingBroker,
  type Delivery,
  MAX_DELIVERIES,
} from "../../src/broker/broker.ts";
import { until } from "../support/wait.ts";
import {
  type BrokerUnderTest,
  type ConsumingBrokerUnderTest,
  embeddedUnderTest,
  message,
  rabbitMQUnderTest,
  type Stored,
  serviceBusUnderTest,
} from "./broker.ts";

const byId = (list: Stored[]) =>
  list.map(({ id, body }) => ({ id, body })).sort((a, b) => a.id.localeCompare(b.id));

/** Opens an implementation for a suite of promises; each finds an empty queue. */
function suite<Under extends BrokerUnderTest>(
  name: string,
  start: () => Promise<Under | { skip: string }>,
) {
  let under: Under;
  let broker: Awaited<ReturnType<Under["open"]>>;
  let skipped: string | undefined;
  before(async () => {
    const started = await start();
    if ("skip" in started) {
      skipped = started.skip;
      return;
    }
    under = started;
    broker = (await under.open()) as typeof broker;
  });
  afterEach(() => under?.clear());
  after(() => under?.dispose());

  return (what: string, check: (given: Under, by: typeof broker) => Promise<void>) => {
    test(`${name}: ${what}`, async (context) => {
      if (skipped !== undefined) return context.skip(skipped);
      await check(under, broker);
    });
  };
}

function publishing(
  name: string,
  start: () => Promise<BrokerUnderTest<Broker> | { skip: string }>,
): void {
  describe(`publishing: ${name}`, () => {
    const promise = suite(name, start);

    promise("says what it is without secrets", async (_under, broker) => {
      assert.doesNotMatch(broker.description, /guest:|SharedAccessKey|aB\+c/);
    });

    promise("a message is stored with its id and every byte of its body", async (under, broker) => {
      const bodies = [
        '{"doc_id": 42, "file_path": "http://x/%D9%85.pdf", "filename": "تقرير ٢٠٢٦.pdf", "user_id": 7}',
        '{"filename":"\u{1F4C4} \u202B \\u0000 e\u0301","doc_id":1}',
        "\uFEFF not even JSON\r\n",
      ];
      const sent = bodies.map(message);
      for (const one of sent) await broker.publish(under.queue, one);
      assert.deepEqual(byId(await under.waiting()), byId(sent));
    });

    promise("two hundred messages at once are two hundred messages", async (under, broker) => {
      const sent = Array.from({ length: 200 }, (_, index) => message(`{"doc_id":${index}}`));
      await Promise.all(sent.map((one) => broker.publish(under.queue, one)));
      assert.deepEqual(byId(await under.waiting()), byId(sent));
    });
  });
}

function consuming(
  name: string,
  start: () => Promise<ConsumingBrokerUnderTest | { skip: string }>,
): void {
  describe(`consuming: ${name}`, () => {
    const promise = suite(name, start);

    promise("every message is delivered, byte for byte, and then gone", async (under, broker) => {
      const sent = ["\uFEFF{}\r\n", '{"filename":"تقرير \u{1F4C4}"}', "x"].map(message);
      for (const one of sent) await broker.publish(under.queue, one);
      const seen: Delivery[] = [];
      const consumer = await broker.consume(
        under.queue,
        async (delivery) => void seen.push(delivery),
        { prefetch: 20 },
      );
      await until(() => seen.length === 3, "three deliveries");
      await consumer.cancel();
      assert.deepEqual(byId(seen), byId(sent));
      assert.deepEqual(await under.waiting(), []);
    });

    promise(
      "a failed one comes again, counted, until a handler succeeds",
      async (under, broker) => {
        const seen: Delivery[] = [];
        const consumer = await broker.consume(
          under.queue,
          async (delivery) => {
            seen.push(delivery);
            if (delivery.deliveries < 3) throw new Error("not yet");
          },
          { prefetch: 1 },
        );
        const sent = message();
        await broker.publish(under.queue, sent);
        await until(() => seen.length === 3, "three deliveries");
        await consumer.cancel();
        assert.deepEqual(
          seen,
          [1, 2, 3].map((deliveries) => ({ ...sent, deliveries })),
        );
        assert.deepEqual(await under.waiting(), []);
      },
    );

    promise(
      "one that always fails is parked with a reason, beside others",
      async (under, broker) => {
        const counts: number[] = [];
        const others: string[] = [];
        const consumer = await broker.consume(
          under.queue,
          async ({ body, deliveries }) => {
            if (body !== "poison") return void others.push(body);
            counts.push(deliveries);
            throw new Error("سُمّ poison");
          },
          { prefetch: 2 },
        );
        const poison = message("poison");
        await broker.publish(under.queue, poison);
        await broker.publish(under.queue, message("good"));
        const [parked] = await until(async () => {
          const list = await under.parked();
          return list.length > 0 && list;
        }, "a parked message");
        await consumer.cancel();
        assert.deepEqual(
          counts,
          Array.from({ length: MAX_DELIVERIES }, (_, at) => at + 1),
        );
        assert.deepEqual(others, ["good"]);
        assert.deepEqual(parked, { ...poison, reason: "Error: سُمّ poison" });
      },
    );

    promise("as many handlers run at once as prefetch says", async (under, broker) => {
      let running = 0;
      let most = 0;
      let done = 0;
      const { promise: released, resolve: release } = Promise.withResolvers<void>();
      for (let index = 0; index < 8; index++)
        await broker.publish(under.queue, message(String(index)));
      const consumer = await broker.consume(
        under.queue,
        async () => {
          running += 1;
          most = Math.max(most, running);
          await released;
          running -= 1;
          done += 1;
        },
        { prefetch: 3 },
      );
      await until(() => running === 3, "three handlers");
      release();
      await until(() => done === 8, "eight messages");
      await consumer.cancel();
      assert.equal(most, 3);
    });

    promise("two consumers share a queue: no message reaches both", async (under, broker) => {
      const other: ConsumingBroker = await under.open();
      const seen: string[] = [];
      const handler = async ({ body }: Delivery) => {
        await sleep(1);
        seen.push(body);
      };
      const consumers = [
        await broker.consume(under.queue, handler, { prefetch: 4 }),
        await other.consume(under.queue, handler, { prefetch: 4 }),
      ];
      for (let index = 0; index < 40; index++)
        await broker.publish(under.queue, message(String(index)));
      await until(() => seen.length >= 40, "forty messages");
      for (const consumer of consumers) await consumer.cancel();
      assert.equal(new Set(seen).size, 40);
      assert.equal(seen.length, 40);
    });

    promise("cancel waits for a handler and leaves the rest to others", async (under, broker) => {
      for (const body of ["a", "b", "c"]) await broker.publish(under.queue, message(body));
      const started: string[] = [];
      const { promise: finished, resolve: finish } = Promise.withResolvers<void>();
      const consumer = await broker.consume(
        under.queue,
        async ({ body }) => {
          started.push(body);
          await finished;
        },
        { prefetch: 1 },
      );
      await until(() => started.length === 1, "one handler");
      let isCancelled = false;
      const cancelling = consumer.cancel().then(() => {
        isCancelled = true;
      });
      await sleep(50);
      assert.equal(isCancelled, false);
      finish();
      await cancelling;
      assert.equal(started.length, 1);
      const rest = await until(async () => {
        const list = await under.waiting();
        return list.length === 2 && list;
      }, "two messages left");
      assert.ok(!rest.some(({ body }) => body === started[0]));
    });

    promise(
      "cancel tells a handler to end; what it leaves is there at once, uncounted",
      async (under, broker) => {
        const sent = message("long");
        await broker.publish(under.queue, sent);
        for (let round = 0; round < 2; round++) {
          let isTold = false;
          const { promise: started, resolve: start } = Promise.withResolvers<void>();
          const consumer = await broker.consume(
            under.queue,
            async (_delivery, signal) => {
              start();
              await new Promise((told) => signal.addEventListener("abort", told));
              isTold = true;
              throw signal.reason;
            },
            { prefetch: 1 },
          );
          await started;
          await consumer.cancel();
          assert.ok(isTold);
        }
        assert.deepEqual(await under.parked(), []);
        const seen: Delivery[] = [];
        const before = performance.now();
        const consumer = await broker.consume(
          under.queue,
          async (delivery) => void seen.push(delivery),
          { prefetch: 1 },
        );
        await until(() => seen.length > 0, "the message");
        assert.ok(performance.now() - before < 8_000, "sooner than a lease ends");
        await consumer.cancel();
        assert.deepEqual(seen, [{ ...sent, deliveries: 1 }]);
      },
    );

    promise(
      "a message is given up before it is parked, and is not parked when that fails",
      async (under, broker) => {
        const sent = message("poison");
        await broker.publish(under.queue, sent);
        let handled = 0;
        const givenUp: [Delivery, number][] = [];
        const consumer = await broker.consume(
          under.queue,
          async () => {
            handled += 1;
            throw new Error("no text in it");
          },
          {
            prefetch: 1,
            onGivenUp: async (delivery) => {
              givenUp.push([delivery, (await under.parked()).length]);
              if (givenUp.length === 1) throw new Error("not now");
            },
          },
        );
        await until(async () => (await under.parked()).length === 1, "a parked message");
        await consumer.cancel();
        assert.equal(handled, MAX_DELIVERIES);
        assert.deepEqual(givenUp, [
          [{ ...sent, deliveries: MAX_DELIVERIES }, 0],
          [{ ...sent, deliveries: MAX_DELIVERIES + 1 }, 0],
        ]);
      },
    );

    promise("messages outlive the process that sent them", async (under) => {
      const sender = await under.open();
      const sent = message("durable");
      await sender.publish(under.queue, sent);
      await sender.close();
      const successor = await under.open();
      const seen: Delivery[] = [];
      await successor.consume(under.queue, async (delivery) => void seen.push(delivery), {
        prefetch: 1,
      });
      await until(() => seen.length === 1, "the message");
      await successor.close();
      assert.deepEqual(seen, [{ ...sent, deliveries: 1 }]);
    });
  });
}

publishing("embedded", embeddedUnderTest);
publishing("RabbitMQ", rabbitMQUnderTest);
publishing("Azure Service Bus (peer)", serviceBusUnderTest);
consuming("embedded", embeddedUnderTest);
consuming("RabbitMQ", rabbitMQUnderTest);
