import { setTimeout as sleep } from "node:timers/promises";
import { until } from "../support/wait.ts";
import type { FaultProxy } from "./fault-proxy.ts";
import { type Client, createClient, NoAnswer, type Operation } from "./load.ts";
import type { Parts } from "./parts.ts";
import { seeded } from "./random.ts";
import { assertNothingFound, Rig } from "./rig.ts";

/** Milliseconds in which what an operation leaves for later is begun. */
const AFTERMATH = 400;
const QUIET = 200;
/** No operation has as many effects: counting would have gone wrong. */
const MOST = 120;

type Where = "disk" | "storage" | "broker";

/**
 * Runs an operation again and again, the server killed before its first effect, then before its
 * second, until it ends without a kill; then checks everything. An effect is one on the disk
 * (`points.ts`), or a piece that passes on the line to a part. Returns what was about to happen.
 */
export async function killAtEachPoint(
  parts: Parts,
  operation: Operation,
  where: Where,
  seed: number,
): Promise<string[]> {
  const line = where === "disk" ? undefined : parts[where];
  const rig = await Rig.make(parts);
  const places: string[] = [];
  try {
    await rig.start({ killAt: 1 });
    const client = await createClient(rig, "c1", seeded(seed));
    for (;;) {
      await operation.prepare?.(rig, client);
      const place = line
        ? await strikeOnLine(rig, line, places.length + 1, () => run(rig, client, operation))
        : await strikeOnDisk(rig, () => run(rig, client, operation));
      if (place === undefined) break;
      places.push(place);
      if (places.length === MOST) throw new Error(`No end after ${places.join(", ")}`);
      await rig.start({ killAt: places.length + 1 });
    }
    // The last one still counts, and would die of its cleaning.
    await rig.kill("SIGTERM");
    await rig.start();
    assertNothingFound(await rig.findings(), `${parts.name}, killed at ${places.join(", ")}`);
    return places;
  } finally {
    await rig.close();
  }
}

async function run(rig: Rig, client: Client, operation: Operation): Promise<void> {
  await operation.act(rig, client).catch((error: unknown) => {
    if (!(error instanceof NoAnswer)) throw error;
  });
  if (rig.server) await Promise.race([rig.server.exit, sleep(AFTERMATH)]);
}

/** The effect before which the server killed itself. */
async function strikeOnDisk(rig: Rig, work: () => Promise<void>): Promise<string | undefined> {
  const { server } = rig;
  const said = (what: string) => server?.lines.find(({ message }) => message === what);
  server?.kill("SIGUSR2");
  await until(() => said("armed"), "the server to be quiet and count its effects");
  await work();
  return said("killed")?.at as string | undefined;
}

/** Kills the server when the n-th piece is on its way. */
async function strikeOnLine(rig: Rig, line: FaultProxy, n: number, work: () => Promise<void>) {
  let last = performance.now();
  let count = 0;
  let killed: Promise<unknown> | undefined;
  let isArmed = false;
  line.onPiece = () => {
    last = performance.now();
    if (isArmed) count += 1;
    if (count === n) killed ??= rig.kill();
    return killed === undefined;
  };
  try {
    await until(() => performance.now() - last > QUIET, "a quiet line");
    isArmed = true;
    await work();
    await killed;
    return killed && `piece ${n}`;
  } finally {
    line.onPiece = () => true;
  }
}
