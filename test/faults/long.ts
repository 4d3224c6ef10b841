/**
 * The long form of the fault tests (`npm run test:faults`): what `npm test` runs of them, lines and
 * clients that fail, 500 kills on embedded parts, 100 beside a second server and 100 on Azurite and
 * RabbitMQ, and there a kill at each step. FAULTS_SEED and FAULTS_KILLS may be given.
 */
import assert from "node:assert/strict";
import { after, before, describe, type TestContext, test } from "node:test";
import { killUnderLoad } from "./kills.ts";
import { embedded, openRemote, type Parts } from "./parts.ts";
import { killAtEachPoint, tell } from "./points-run.ts";
import { seedOfRun } from "./random.ts";

const seed = seedOfRun();
process.env.FAULTS_SEED = String(seed);
process.env.FAULTS_KILLS ??= "500";
const remoteKills = Math.ceil(Number(process.env.FAULTS_KILLS) / 5);

for (const name of ["checker.test", "points.test", "table.test", "stop.test", "disk.test"])
  await import(`./${name}.ts`);
for (const name of ["dependencies", "clients", "kills.test"]) await import(`./${name}.ts`);

test(`${remoteKills} kills beside a second server on the same data`, async (t) => {
  t.diagnostic(await killUnderLoad(embedded, { kills: remoteKills, seed, isShared: true }));
});

describe("on Azurite and RabbitMQ", () => {
  let parts: Parts | { skip: string };
  before(async () => {
    parts = await openRemote();
  });
  after(() => ("close" in parts ? parts.close() : undefined));

  const onRemote = (title: string, work: (t: TestContext, parts: Parts) => Promise<void>) =>
    test(title, async (t) => {
      t.diagnostic(`FAULTS_SEED=${seed}`);
      if ("skip" in parts) return t.skip(parts.skip);
      await work(t, parts);
    });

  onRemote(`${remoteKills} kills on Azurite and RabbitMQ`, async (t, parts) => {
    t.diagnostic(await killUnderLoad(parts, { kills: remoteKills, seed }));
  });

  for (const where of ["disk", "storage", "broker"] as const) {
    onRemote(
      `a kill before each step of an upload and a deletion, seen from the ${where}`,
      async (t, parts) => {
        const places = await killAtEachPoint(parts, ["upload", "delete"], where, seed);
        t.diagnostic(tell(places));
        assert.ok(places.get("upload")?.length);
      },
    );
  }
});
