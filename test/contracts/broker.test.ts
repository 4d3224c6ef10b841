import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Broker, type Delivery, MAX_DELIVERIES } from "../../src/broker/broker.ts";
import {
  type BrokerUnderTest,
  embeddedUnderTest,
  LEASE,
  rabbitMQUnderTest,
  serviceBusUnderTest,
  until,
} from "./broker.ts";

const message = (body = '{"doc_id":1}') => ({ id: randomUUID(), body });

function suite(name: string, start: () => Promise<BrokerUnderTest | { skip: string }>): void {
  describe(`broker: ${name}`, () => {
    let under: BrokerUnderTest;
    let broker: Broker;
    let skipped: string | undefined;

    before(async () => {
      const started = await start();
      if ("skip" in started) {
        skipped = started.skip;
        return;
      }
      under = started;
      broker = await under.open();
    });
    after(() => under?.dispose());

    /** Each promise starts and ends with an empty queue. */
    function promise(what: string, check: () => Promise<void>): void {
      test(what, async (context) => {
        if (skipped !== undefined) {
          context.skip(skipped);
          return;
        }
        await check();
        await until(async () => (await under.waiting()).length === 0, "an empty queue");
      });
    }

    async function drain(): Promise<Delivery[]> {
      const expected = (await under.waiting()).length;
      const deliveries: Delivery[] = [];
      const consumer = await broker.consume(
        under.queue,
        async (delivery) => void deliveries.push(delivery),
        {
          prefetch: 20,
        },
      );
      await until(() => deliveries.length >= expected, `${expected} deliveries`);
      await consumer.cancel();
      return deliveries;
    }

    promise("says what it is without secrets, and is ready", async () => {
      await broker.ping();
      assert.doesNotMatch(broker.description, /guest:|SharedAccessKey|aB\+c/);
    });

    promise("a published message is stored with its id and every byte of its body", async () => {
      const bodies = [
        '{"doc_id": 42, "file_path": "http://x/%D9%85.pdf", "filename": "تقرير ٢٠٢٦.pdf", "user_id": 7}',
        '{"filename":"\u{1F4C4} \u202B \\u0000 e\u0301","doc_id":1}',
        "\uFEFF not even JSON\r\n",
      ];
      const sent = bodies.map(message);
      for (const one of sent) await broker.publish(under.queue, one);
      const byId = (list: { id: string; body: string }[]) =>
        list.map(({ id, body }) => ({ id, body })).sort((a, b) => a.id.localeCompare(b.id));
      assert.deepEqual(byId(await under.waiting()), byId(sent));
      assert.deepEqual(byId(await drain()), byId(sent));
    });

    promise(
      "two hundred messages published at once are two hundred distinct messages",
      async () => {
        const sent = Array.from({ length: 200 }, (_, index) => message(`{"doc_id":${index}}`));
        await Promise.all(sent.map((one) => broker.publish(under.queue, one)));
        assert.equal(new Set((await under.waiting()).map(({ body }) => body)).size, 200);
        assert.equal(new Set((await drain()).map(({ body }) => body)).size, 200);
      },
    );

    promise(
      "a failed message is delivered again, with its count, until a handler succeeds",
      async () => {
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
      },
    );

    promise(
      "a message that always fails is parked with a reason, and no longer delivered",
      async () => {
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
        assert.deepEqual(counts, [1, 2, 3, 4, 5].slice(0, MAX_DELIVERIES));
        assert.deepEqual(others, ["good"]);
        assert.equal(parked?.id, poison.id);
        assert.equal(parked?.body, "poison");
        assert.match(parked?.reason ?? "", /سُمّ poison|MaxDeliveryCountExceeded/);
      },
    );

    promise("as many handlers run at once as prefetch says, and no more", async () => {
      let running = 0;
      let most = 0;
      let done = 0;
      let release = () => {};
      const released = new Promise<void>((resolve) => {
        release = resolve;
      });
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

    promise("two consumers share a queue: no message reaches both", async () => {
      const other = await under.open();
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

    promise("cancel waits for the handler under way and leaves the rest to others", async () => {
      for (const body of ["a", "b", "c"]) await broker.publish(under.queue, message(body));
      const started: string[] = [];
      let finish = () => {};
      const finished = new Promise<void>((resolve) => {
        finish = resolve;
      });
      const consumer = await broker.consume(
        under.queue,
        async ({ body }) => {
          started.push(body);
          await finished;
        },
        { prefetch: 1 },
      );
      await until(() => started.length === 1, "one handler");
      let cancelled = false;
      const cancelling = consumer.cancel().then(() => {
        cancelled = true;
      });
      await sleep(50);
      assert.equal(cancelled, false);
      finish();
      await cancelling;
      assert.equal(started.length, 1);
      const rest = await until(async () => {
        const list = await under.waiting();
        return list.length === 2 && list;
      }, "two messages left");
      assert.ok(!rest.some(({ body }) => body === started[0]));
      await drain();
    });

    promise("a handler that takes longer than a lease keeps its message", async () => {
      const other = await under.open();
      const seen: number[] = [];
      const handler = async ({ deliveries }: Delivery) => {
        seen.push(deliveries);
        await sleep(3 * LEASE);
      };
      await broker.publish(under.queue, message());
      const consumers = [
        await broker.consume(under.queue, handler, { prefetch: 1 }),
        await other.consume(under.queue, handler, { prefetch: 1 }),
      ];
      await until(() => seen.length > 0, "a delivery");
      await Promise.all(consumers.map((consumer) => consumer.cancel()));
      assert.deepEqual(seen, [1]);
    });

    promise("messages outlive the process that sent them", async () => {
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

suite("embedded", embeddedUnderTest);
suite("RabbitMQ", rabbitMQUnderTest);
suite("Azure Service Bus (peer)", serviceBusUnderTest);
