import assert from "node:assert/strict";
import { test } from "node:test";
import { startChores } from "../../src/domain/chores.ts";
import type { Logger } from "../../src/log.ts";
import { silent } from "../support/sqlserver.ts";

/** Lets promises that are settled go on. */
const settle = () => new Promise(setImmediate);

test("chores are done now and every minute, one round at a time, also after a failure", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const rounds: PromiseWithResolvers<void>[] = [];
  let stopping: AbortSignal | undefined;
  const chores = startChores((signal) => {
    stopping = signal;
    const round = Promise.withResolvers<void>();
    rounds.push(round);
    return round.promise;
  }, silent);
  assert.equal(rounds.length, 1);
  t.mock.timers.tick(60_000);
  assert.equal(rounds.length, 1, "the first round is under way");
  rounds[0]?.reject(new Error("the database is away"));
  await settle();
  t.mock.timers.tick(60_000);
  assert.equal(rounds.length, 2);

  let stopped = false;
  const end = chores.stop().then(() => {
    stopped = true;
  });
  await settle();
  assert.deepEqual([stopping?.aborted, stopped], [true, false]);
  rounds[1]?.resolve();
  await end;
  t.mock.timers.tick(120_000);
  assert.equal(rounds.length, 2);
});

test("of failures in a row the first is a warning", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const levels: string[] = [];
  const log = { ...silent, debug: () => levels.push("debug"), warn: () => levels.push("warn") };
  const outcomes = ["fails", "fails", "works", "fails"];
  const chores = startChores(
    async () => {
      if (outcomes.shift() === "fails") throw new Error("the database is away");
    },
    log as Logger,
    5_000,
  );
  for (let round = 0; round < 3; round++) {
    await settle();
    t.mock.timers.tick(5_000);
  }
  await chores.stop();
  assert.deepEqual([levels, outcomes], [["warn", "debug", "warn"], []]);
});

test("chores asked for are done within a second, once for all that ask, or after the round under way", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval", "setTimeout"] });
  const rounds: PromiseWithResolvers<void>[] = [];
  const chores = startChores(() => {
    const round = Promise.withResolvers<void>();
    rounds.push(round);
    return round.promise;
  }, silent);
  for (let asked = 0; asked < 3; asked++) chores.soon();
  t.mock.timers.tick(1000);
  await settle();
  assert.equal(rounds.length, 1, "the first round is under way");
  rounds[0]?.resolve();
  await settle();
  assert.equal(rounds.length, 2);
  rounds[1]?.resolve();
  await settle();
  chores.soon();
  await chores.stop();
  t.mock.timers.tick(120_000);
  await settle();
  assert.equal(rounds.length, 2, "none after the end");
});
