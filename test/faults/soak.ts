/**
 * Six clients at work on the built server, embedded parts, for 15 minutes or as many as are given:
 * prints each minute what the server holds, which must not grow. `npm run soak [-- minutes]`.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { act, createClient } from "./load.ts";
import { embedded } from "./parts.ts";
import { seeded, seedOfRun } from "./random.ts";
import { assertNothingFound, Rig, removeBuilt } from "./rig.ts";

const CLIENTS = 6;
const minutes = Number(process.argv[2] ?? 15);
const seed = seedOfRun();

const rig = await Rig.make(embedded);
const print = (columns: (string | number)[]) =>
  process.stdout.write(`${columns.map((column) => String(column).padStart(11)).join("")}\n`);

/** What the server has open and in memory, and its unfinished files. */
function holdings(pid: number): number[] {
  const resident = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  const files = readdirSync(join(rig.folder, "blobs", ".unfinished")).length;
  return [
    Math.round(Number(resident?.[1]) / 1024),
    readdirSync(`/proc/${pid}/fd`).length,
    files,
    rig.ledger.uploads.size,
  ];
}

try {
  const { pid } = await rig.start();
  const names = Array.from({ length: CLIENTS }, (_, index) => `c${index + 1}`);
  const clients = await Promise.all(
    names.map((name, index) => createClient(rig, name, seeded(seed + index))),
  );
  const stop = new AbortController();
  const acting = Promise.all(clients.map((client) => act(rig, client, stop.signal)));
  print(["minute", "memory MB", "open files", "unfinished", "uploads"]);
  for (let minute = 0; minute <= minutes; minute++) {
    print([minute, ...holdings(pid)]);
    if (minute < minutes) await Promise.race([sleep(60_000), acting]);
  }
  stop.abort();
  await acting;
  print(["at rest", ...holdings(pid)]);
  assertNothingFound(await rig.findings(30_000), `seed ${seed}, after ${minutes} minutes`);
} finally {
  await rig.close();
  await removeBuilt();
}
