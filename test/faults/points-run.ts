import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { until } from "../support/wait.ts";
import type { FaultProxy } from "./fault-proxy.ts";
import { type Client, createClient, NoAnswer, OPERATIONS, type Operation } from "./load.ts";
import type { Parts } from "./parts.ts";
import { seeded } from "./random.ts";
import { assertNothingFound, Rig } from "./rig.ts";

/** Milliseconds in which what an operation leaves for later is begun. */
const AFTERMATH = 400;
const QUIET = 200;
/** No operation has as many effects: counting would have gone wrong. */
const MOST = 120;

export type OperationName = keyof typeof OPERATIONS;
type Where = "disk" | "storage" | "broker";

/**
 * Runs each operation again and again, the server killed before its first effect, then before its
 * second, until it ends without a kill; then checks everything. An effect is one on the disk
 * (`points.ts`), or a piece that passes on the line to a part. Returns what was about to happen.
 */
export async function killAtEachPoint(
  parts: Parts,
  operations: readonly OperationName[],
  where: Where,
  seed: number,
): Promise<Map<OperationName, string[]>> {
  const rig = await Rig.make(parts);
  const all = new Map<OperationName, string[]>();
  try {
    await rig.start();
    const client = await createClient(rig, "c1", seeded(seed));
    for (const name of operations)
      all.set(name, await killAtPoints(rig, client, OPERATIONS[name], parts, where));
    assertNothingFound(await rig.findings(), `${parts.name}, seed ${seed}, killed at ${tell(all)}`);
    return all;
  } finally {
    await rig.close();
  }
}

/** One line. */
export function tell(all: Map<OperationName, string[]>): string {
  const lines = Array.from(all, ([name, places]) => `${name} (${places.length}): ${places}`);
  return lines.join("; ");
}

async function killAtPoints(
  rig: Rig,
  client: Client,
  operation: Operation,
  parts: Parts,
  where: Where,
): Promise<string[]> {
  const line = where === "disk" ? undefined : parts[where];
  const places: string[] = [];
  await rig.kill("SIGTERM");
  while (places.length < MOST) {
    await rig.start({ killAt: places.length + 1 });
    await operation.prepare?.(rig, client);
    const work = () => run(rig, client, operation);
    const place = line
      ? await strikeOnLine(rig, line, places.length + 1, work)
      : await strikeOnDisk(rig, work);
    if (place !== undefined) {
      places.push(place);
      continue;
    }
    // This server counts on, and would die of its background work.
    await rig.kill("SIGTERM");
    await rig.start();
    return places;
  }
  throw new Error(`No end after ${places.join(", ")}`);
}

async function run(rig: Rig, client: Client, operation: Operation): Promise<void> {
  const { server } = rig;
  const sent = newestMessage(rig);
  await operation.act(rig, client).catch((error: unknown) => {
    if (!(error instanceof NoAnswer)) throw error;
  });
  // What a dead server claimed before waits longer.
  await until(() => rig.server !== server || newestMessage(rig) <= sent, "the message to be sent");
  if (rig.server) await Promise.race([rig.server.exit, sleep(AFTERMATH)]);
}

/** The number of the newest row in the outbox; none is used twice. */
function newestMessage({ folder }: Rig): number {
  const database = new DatabaseSync(join(folder, "nassaq.db"), { readOnly: true });
  try {
    const row = database.prepare("SELECT MAX(outbox_id) AS newest FROM Outbox").get();
    return Number(row?.newest ?? 0);
  } finally {
    database.close();
  }
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
