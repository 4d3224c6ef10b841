import { setTimeout as sleep } from "node:timers/promises";
import { act, createClient } from "./load.ts";
import type { Parts } from "./parts.ts";
import { seeded } from "./random.ts";
import { assertNothingFound, Rig } from "./rig.ts";

const CLIENTS = 6;
/** Milliseconds from a start to the next kill, at most. */
const LONGEST_LIFE = 1_000;
/** Kills between two checks. */
const ROUND = 100;

interface Options {
  kills: number;
  seed: number;
  /** A second server works on the same data meanwhile, which is not killed. */
  isShared?: boolean;
  /** Milliseconds after the last start in which all that was left must be gone. */
  cleaning?: number;
}

/**
 * Kills a server again and again under the load of six clients, at times that the seed decides, one
 * in ten before it is ready. Fails with the checker's findings; else tells what was done.
 */
export async function killUnderLoad(
  parts: Parts,
  { kills, seed, isShared = false, cleaning: limit = 30_000 }: Options,
): Promise<string> {
  const random = seeded(seed);
  const rig = await Rig.make(parts);
  const began = performance.now();
  let cleaning = 0;
  try {
    await rig.start();
    if (isShared) await rig.startBeside();
    const names = Array.from({ length: CLIENTS }, (_, index) => `c${index + 1}`);
    const clients = await Promise.all(
      names.map((name, index) => createClient(rig, name, seeded(seed + index + 1))),
    );
    for (let done = 0; done < kills; ) {
      const stop = new AbortController();
      const acting = clients.map((client) => act(rig, client, stop.signal));
      const failed = Promise.all(acting).then(() => undefined);
      for (const end = Math.min(kills, done + ROUND); done < end; done++) {
        await Promise.race([sleep(random.between(20, LONGEST_LIFE)), failed]);
        await rig.kill();
        if (random.next() < 0.1) await rig.dieAtStart(random.between(50, 600));
        await rig.start();
      }
      stop.abort();
      await failed;
      const since = performance.now();
      const findings = await rig.findings(limit);
      cleaning = Math.max(cleaning, performance.now() - since);
      assertNothingFound(findings, `${parts.name}, seed ${seed}, after ${done} kills`);
    }
    await rig.verifyAudit();
    const messages = (await rig.stores.messages()).length;
    const uploads = [...rig.ledger.uploads.values()];
    const count = (stored: string) => uploads.filter((upload) => upload.stored === stored).length;
    const deleted = uploads.filter((upload) => upload.deleted === "yes").length;
    const seconds = Math.round((performance.now() - began) / 1000);
    return (
      `${parts.name}, seed ${seed}: ${kills} kills in ${seconds} s; ` +
      `${count("yes")} uploads stored, ${count("unknown")} without answer, ${deleted} deleted, ` +
      `${messages} messages; clean after ${(cleaning / 1000).toFixed(1)} s at most`
    );
  } finally {
    await rig.close();
  }
}
