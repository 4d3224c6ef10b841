import assert from "node:assert/strict";
import { after, before, describe, type TestContext, test } from "node:test";
import { until } from "../support/wait.ts";
import type { Line } from "./fault-proxy.ts";
import { openRemote, type Parts } from "./parts.ts";
import { seeded } from "./random.ts";
import { assertNothingFound, Rig, removeBuilt } from "./rig.ts";
import { note } from "./slow.ts";

after(removeBuilt);

/** Seconds. */
const SHUTDOWN_TIMEOUT = 4;
/** Milliseconds that a readiness check or an upload into a storage that is silent may take. */
const READY_LIMIT = 8_000;
const UPLOAD_LIMIT = 120_000;

const random = seeded(21);

describe("storage and broker behind lines that fail", () => {
  let parts: Parts | { skip: string };
  before(async () => {
    parts = await openRemote();
  });
  after(() => ("skip" in parts ? undefined : parts.close()));

  const onRig = (title: string, work: (rig: Rig, parts: Parts, t: TestContext) => Promise<void>) =>
    test(title, async (t) => {
      if ("skip" in parts) return t.skip(parts.skip);
      const rig = await Rig.make(parts, { env: { SHUTDOWN_TIMEOUT: String(SHUTDOWN_TIMEOUT) } });
      try {
        await rig.start();
        await rig.admin();
        await work(rig, parts, t);
      } finally {
        setLines(parts, "whole");
        await rig.close();
      }
    });

  onRig("both slow: all works", async (rig, all) => {
    setLines(all, "slow");
    const { status, noted } = await upload(rig);
    assert.equal(status, 201);
    const target = `/docs/${noted.docId}/download`;
    const { bytes } = await rig.expect(200, "GET", target, await rig.admin());
    assert.equal(bytes.length, noted.size);
    assertNothingFound(await rig.findings(), "slow lines");
  });

  onRig("cut in the middle of work, ten times: nothing is lost", async (rig, all) => {
    for (let count = 0; count < 10; count++) {
      const uploaded = upload(rig);
      setTimeout(() => (count % 2 ? all.storage : all.broker)?.cut(), random.between(0, 60));
      const { status } = await uploaded;
      assert.ok([201, 500].includes(status), `status ${status}`);
    }
    assertNothingFound(await rig.findings(), "lines that were cut");
  });

  onRig("both silent: bounded answers that name them, and then they heal", async (rig, all) => {
    setLines(all, "stalled", ["broker"]);
    assert.equal((await upload(rig)).status, 201, "the broker is not waited for");
    setLines(all, "stalled");
    const ready = await timed(() => readiness(rig));
    assert.deepEqual([ready.value.status, ready.value.checks.storage], [503, "unavailable"]);
    assert.equal(ready.value.checks.broker, "unavailable");
    assert.ok(ready.took < READY_LIMIT, `/ready took ${ready.took} ms`);
    const stored = await timed(() => upload(rig));
    assert.equal(stored.value.status, 500);
    assert.ok(stored.took < UPLOAD_LIMIT, `the upload took ${stored.took} ms`);
    setLines(all, "whole");
    assertNothingFound(await rig.findings(), "lines that were silent");
    assert.equal((await readiness(rig)).status, 200);
  });

  onRig("a stop with a silent broker keeps its time, and tells readiness", async (rig, all, t) => {
    setLines(all, "stalled", ["broker"]);
    assert.equal((await upload(rig)).status, 201);
    // A readiness check is under way when the server begins to stop.
    setLines(all, "stalled");
    const before = all.storage?.held ?? 0;
    const asked = readiness(rig);
    asked.catch(() => {});
    await until(() => (all.storage?.held ?? 0) > before, "the check to ask the storage");
    const { lines } = rig.server ?? { lines: [] };
    const began = performance.now();
    const { code } = await rig.kill("SIGTERM");
    const took = performance.now() - began;
    t.diagnostic(`the stop took ${(took / 1000).toFixed(1)} s of ${SHUTDOWN_TIMEOUT} s, and one`);
    assert.equal(code, 0);
    assert.ok(lines.some(({ message }) => message === "stopped"));
    assert.ok(took < (SHUTDOWN_TIMEOUT + 1 + 1) * 1000, `the stop took ${took} ms`);
    const { status, body } = await asked;
    assert.deepEqual([status, body.status], [503, "stopping"]);
    setLines(all, "whole");
    await rig.start();
    assertNothingFound(await rig.findings(), "the stop");
  });
});

function setLines(
  parts: Parts,
  line: Line,
  which: readonly ("storage" | "broker")[] = ["storage", "broker"],
) {
  for (const name of which) {
    const proxy = parts[name];
    assert.ok(proxy);
    proxy.line = line;
  }
}

async function upload(rig: Rig) {
  const data = random.bytes(300_000);
  const noted = rig.ledger.begin(rig.ledger.newName(), data, 1);
  const multipart = [{ name: "file", filename: noted.filename, data }];
  const answer = await rig.call("POST", "/docs/upload", await rig.admin(), { multipart });
  note(noted, answer);
  return { status: answer.status, noted };
}

async function readiness(rig: Rig) {
  const answer = await fetch(`${rig.server?.url}/ready`, { headers: { Connection: "close" } });
  const body = (await answer.json()) as { status: string; checks: Record<string, string> };
  return { status: answer.status, body, checks: body.checks };
}

async function timed<Value>(work: () => Promise<Value>) {
  const began = performance.now();
  const value = await work();
  return { value, took: performance.now() - began };
}
