import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { AppError } from "../../src/errors.ts";
import { createThrottle } from "../../src/http/throttle.ts";

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
    take(key: string, claimant?: string): number {
      try {
        throttle.take(key, claimant);
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

  test("who comes back when told is let in, whatever others have taken meanwhile, and nobody sooner", () => {
    const { take, pass } = bench(6);
    for (let guess = 0; guess < 6; guess++) assert.equal(take("account", "attacker"), 0);
    assert.equal(take("account", "owner"), 10);
    for (let second = 1; second <= 10; second++) {
      pass(1);
      while (take("account", "attacker") === 0);
      if (second < 10) assert.equal(take("account", "owner"), 10 - second);
    }
    assert.equal(take("account", "owner"), 0);
    assert.equal(take("account", "owner"), 10);
    assert.equal(take("account", "somebody else"), 10);
  });

  test("very long keys are told apart", () => {
    const { take } = bench(1);
    assert.equal(take(`${"x".repeat(100_000)}a`), 0);
    assert.equal(take(`${"x".repeat(100_000)}b`), 0);
    assert.equal(take(`${"x".repeat(100_000)}a`), 60);
  });
});
