import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ask, get, postFile, postForm } from "../load.ts";
import { ALL_CORES } from "../programs.ts";
import { median } from "../report.ts";
import {
  ADMIN,
  type Bench,
  compare,
  contend,
  loginAs,
  makeData,
  PASSWORD,
  startServer,
} from "../server.ts";
import { rateLine } from "./hot.ts";

/** From the start of the process to its first answer. */
export async function startTimes(bench: Bench): Promise<void> {
  const data = await makeData(join(bench.folder, "data"));
  const existing: number[] = [];
  const first: number[] = [];
  for (let round = 0; round < bench.rounds * 2 - 1; round++) {
    for (const [times, folder] of [
      [existing, data],
      [first, join(bench.folder, `first${round}`)],
    ] as const) {
      const server = await startServer(folder, { cores: ALL_CORES });
      times.push(server.startedIn);
      // The first one may still make its admin.
      await loginAs(server.url);
      await server.stop();
    }
  }
  const unit = "ms p50";
  const aims = { atMost: 250 };
  bench.report({ name: "start, existing data", unit, ours: median(existing), aims });
  bench.report({ name: "start, first", unit, ours: median(first), aims: { atMost: 350 } });
}

const REST = 10_000;

/** Resident memory after ten seconds in which nothing is asked. */
export async function idleMemory(bench: Bench): Promise<void> {
  const data = await makeData(join(bench.folder, "data"));
  const options = { cores: ALL_CORES, env: { LOG_LEVEL: "info" } };
  const first = await startServer(join(bench.folder, "first"), options);
  const existing = await startServer(data, options);
  await sleep(REST);
  for (const [name, server, atMost] of [
    ["at rest, existing data", existing, 70],
    ["at rest, after a first start", first, 72],
  ] as const)
    bench.report({ name, unit: "MiB RSS", ours: server.memory(), aims: { atMost } });
}

const SCAN = readFileSync(join(import.meta.dirname, "../../samples/invoice-scan.jpg"));
/** Enough for the time that is measured. */
const SCANS = 100;

/** What others get while the OCR worker reads scans beside the server. */
export async function besideWorker(bench: Bench): Promise<void> {
  const sides = { floor: {}, ours: { EMBEDDED_WORKER: "yes" } };
  const { contenders, token } = await contend(bench, sides, { cores: ALL_CORES });
  let names = 0;
  const upload = (kind: string, bytes: Buffer) => postFile(`${++names}.${kind}`, bytes, token);
  for (const { program } of contenders.slice(1))
    for (let scan = 0; scan < SCANS; scan++) await ask(program.url, upload("jpg", SCAN));
  const text = Buffer.from("Minutes of a meeting. ".repeat(1000));
  const login = postForm("/api/v1/auth/login", { username: ADMIN, password: PASSWORD });
  const list = get("/api/v1/docs/me?limit=20", token);
  const cases = { login: () => login, "upload 22 KB": () => upload("bin", text), list: () => list };
  const { seconds } = bench;
  for (const [name, request] of Object.entries(cases)) {
    const load = { connections: 1, seconds, request };
    const figures = await compare(contenders, bench, () => load);
    bench.report(rateLine(`${name} beside the worker (floor: none)`, figures));
  }
}
