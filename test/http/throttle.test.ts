import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { AppError } from "../../src/errors.ts";
import { createKnownNetworks, createThrottle, networkOf } from "../../src/http/throttle.ts";
import { memoryInUse } from "../support/memory.ts";

function bench(perMinute: number, maxKeys?: number) {
  let instant = 1_000;
  const throttle = createThrottle({
    perMinute,
    now: () => instant,
    ...(maxKeys ? { maxKeys } : {}),
  });
  return {
    pass(seconds: number) {
      instant += seconds * 1000;
    },
    /** 0 when the token was had, else the seconds of `Retry-After`. */
    take(key: string): number {
      try {
        throttle.take(key);
        return 0;
      } catch (error) {
        assert.ok(error instanceof AppError);
        assert.equal(error.code, "too_many_requests");
        const header = error.headers["Retry-After"] ?? "";
        assert.match(header, /^[1-9]\d*$/);
        return Number(header);
      }
    },
  };
}

describe("the throttle", () => {
  test("lets a minute's tokens pass at once, then one token as each refills", () => {
    const { take, pass } = bench(3);
    assert.deepEqual([take("a"), take("a"), take("a"), take("a")], [0, 0, 0, 20]);
    pass(19);
    assert.equal(take("a"), 1);
    pass(1);
    assert.equal(take("a"), 0);
    assert.equal(take("a"), 20);
  });

  test("a refused attempt costs nothing, and keys don't share", () => {
    const { take, pass } = bench(1);
    assert.equal(take("a"), 0);
    for (let count = 0; count < 100; count++) assert.equal(take("a"), 60);
    assert.equal(take("b"), 0);
    pass(60);
    assert.equal(take("a"), 0);
  });

  test("0 a minute turns it off", () => {
    const { take } = bench(0);
    for (let count = 0; count < 1000; count++) assert.equal(take("a"), 0);
  });

  test("who waits as long as told gets a token", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1000 }),
        fc.array(fc.double({ min: 0, max: 5, noNaN: true })),
        (rate, gaps) => {
          const { take, pass } = bench(rate);
          for (const gap of gaps) {
            pass(gap);
            take("a");
          }
          for (let wait = take("a"); wait === 0; ) wait = take("a");
          pass(take("a"));
          assert.equal(take("a"), 0);
        },
      ),
    );
  });

  test("a flood of other keys does not reset an emptied bucket, and the flood is bounded", () => {
    const { take } = bench(2, 100);
    take("victim");
    take("victim");
    for (let key = 0; key < 10_000; key++) assert.equal(take(`flood ${key}`), 0);
    assert.ok(take("victim") > 0);
  });

  test("a million other keys are forgotten in time, those that were emptied last", () => {
    const { take } = bench(10);
    const before = memoryInUse().heapUsed;
    const started = performance.now();
    for (let guess = 0; guess < 10; guess++) assert.equal(take("victim"), 0);
    for (let key = 0; key < 1_000_000; key++)
      assert.equal(take(`flood ${key} ${"x".repeat(50)}`), 0);
    assert.ok(take("victim") > 0);
    const megabytes = (memoryInUse().heapUsed - before) / 2 ** 20;
    assert.ok(megabytes < 40, `${megabytes} MB`);
    assert.ok(performance.now() - started < 60_000);
  });

  test("very long keys are told apart", () => {
    const { take } = bench(1);
    assert.equal(take(`${"x".repeat(100_000)}a`), 0);
    assert.equal(take(`${"x".repeat(100_000)}b`), 0);
    assert.equal(take(`${"x".repeat(100_000)}a`), 60);
  });
});

describe("the network of an address", () => {
  const same: [network: string, ...addresses: string[]][] = [
    ["192.0.2.7", "192.0.2.7", "::ffff:192.0.2.7", "::FFFF:c000:207", "0:0:0:0:0:ffff:192.0.2.7"],
    [
      "2001:db8:0:1",
      "2001:db8:0:1::",
      "2001:db8:0:1::1",
      "2001:DB8:0:1:ffff:ffff:ffff:FFFF",
      "2001:0db8:0000:0001:0000:0000:0000:0001",
      "2001:db8::1:0:0:0:1",
      "2001:db8:0:1::192.0.2.7",
      "2001:db8:0:1::1%eth0",
    ],
    ["2001:db8:0:0", "2001:db8::", "2001:db8::1", "2001:db8:0:0:1::", "2001:db8::1:0:0:1"],
    ["fe80:0:0:0", "fe80::1", "fe80::1%eth0", "FE80::2%25", `fe80::1%${"x".repeat(100)}`],
    ["0:0:0:0", "::1", "::", "0:0:0:0:0:0:0:1", "::192.0.2.7", "::ffff:0:192.0.2.7"],
    ["1:2:3:4", "1:2:3:4:5:6:7:8", "1:2:3:4::8"],
    ["unknown", "unknown"],
  ];
  for (const [network, ...addresses] of same) {
    test(`${network} is that of ${addresses.length} spellings`, () => {
      for (const address of addresses) assert.equal(networkOf(address), network, address);
    });
  }

  test("is the first half of any IPv6 address, however it is written", () => {
    const groups = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff })), {
      minLength: 8,
      maxLength: 8,
    });
    fc.assert(
      fc.property(groups, fc.boolean(), (numbers, upper) => {
        fc.pre(numbers.slice(0, 5).some((number) => number !== 0));
        const long = numbers.map((number) => number.toString(16).padStart(4, "0")).join(":");
        const short = new URL(`http://[${long}]/`).hostname.slice(1, -1);
        const network = numbers.slice(0, 4).map((number) => number.toString(16));
        for (const spelling of [long, short]) {
          const address = upper ? spelling.toUpperCase() : spelling;
          assert.equal(networkOf(address), network.join(":"));
        }
      }),
    );
  });
});

describe("the networks that an account signed in from", () => {
  test("are known for that account alone, and only the last ones", () => {
    const known = createKnownNetworks();
    known.add("salma@example.com", "home");
    assert.equal(known.has("salma@example.com", "home"), true);
    assert.equal(known.has("salma@example.com", "elsewhere"), false);
    assert.equal(known.has("amina@example.com", "home"), false);
    for (let other = 0; other < 7; other++) known.add("salma@example.com", `trip ${other}`);
    known.add("salma@example.com", "home");
    for (let other = 0; other < 7; other++) known.add("salma@example.com", `way ${other}`);
    assert.equal(known.has("salma@example.com", "home"), true);
    assert.equal(known.has("salma@example.com", "trip 6"), false);
  });

  test("are bounded: another account's many push out none, those of the latest accounts stay", () => {
    const known = createKnownNetworks(1000);
    known.add("owner", "home");
    for (let network = 0; network < 10_000; network++) known.add("attacker", `network ${network}`);
    assert.equal(known.has("owner", "home"), true);
    const before = memoryInUse().heapUsed;
    for (let account = 0; account < 100_000; account++) known.add(`account ${account}`, "office");
    assert.ok(memoryInUse().heapUsed - before < 2 ** 20);
    assert.equal(known.has("owner", "home"), false);
    assert.equal(known.has("account 99000", "office"), true);
    assert.equal(known.has("account 98999", "office"), false);
  });
});
