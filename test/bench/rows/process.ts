import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ask, drive, get, postFile, postForm, type Wire } from "../load.ts";
import { ALL_CORES, type Program } from "../programs.ts";
import { median, quantile } from "../report.ts";
import { ADMIN, type Bench, loginAs, makeData, PASSWORD, startServer } from "../server.ts";

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
  const line = { unit: "ms p50", better: "less" as const };
  const known = { name: "start, existing data", ours: median(existing), aims: { atMost: 250 } };
  bench.report({ ...line, ...known });
  bench.report({ ...line, name: "start, first", ours: median(first), aims: { atMost: 350 } });
}

const REST = 10_000;

/** Resident memory after ten seconds in which nothing is asked. */
export async function idleMemory(bench: Bench): Promise<void> {
  const data = await makeData(join(bench.folder, "data"));
  const options = { cores: ALL_CORES, env: { LOG_LEVEL: "info" } };
  const first = await startServer(join(bench.folder, "first"), options);
  const existing = await startServer(data, options);
  await sleep(REST);
  const line = { unit: "MiB RSS", better: "less" as const };
  for (const [name, server, atMost] of [
    ["existing data", existing, 70],
    ["after a first start", first, 72],
  ] as const)
    bench.report({ ...line, name: `at rest, ${name}`, ours: server.memory(), aims: { atMost } });
}

/** Scans that wait for the worker at least. */
const BACKLOG = 5;
const SCAN = readFileSync(join(import.meta.dirname, "../../samples/invoice-scan.jpg"));
const TEXT = Buffer.from("Minutes of a meeting. ".repeat(1000));

/** What others wait for while the OCR worker reads scans beside the server. */
export async function besideWorker(bench: Bench): Promise<void> {
  let names = 0;
  const begin = async (name: string, worker: string) => {
    const env = { EMBEDDED_WORKER: worker };
    const server = await startServer(join(bench.folder, name), { cores: ALL_CORES, env });
    const token = await loginAs(server.url);
    const upload = (kind: string, bytes: Buffer) => postFile(`${++names}.${kind}`, bytes, token);
    const list = (query: string) => get(`/api/v1/docs/me?${query}`, token);
    return { server, upload, list, times: new Map<string, number[]>() };
  };
  type Side = Awaited<ReturnType<typeof begin>>;
  const without = await begin("without", "no");
  const beside = await begin("beside", "yes");
  const login = postForm("/api/v1/auth/login", { username: ADMIN, password: PASSWORD });
  const cases: Record<string, (side: Side) => Wire> = {
    login: () => login,
    "upload 22 KB": ({ upload }) => upload("bin", TEXT),
    "list of 20": ({ list }) => list("limit=20"),
  };
  for (let round = 0; round < (bench.isQuick ? 10 : 40); round++) {
    await fillQueue(beside.server, beside.list("status=Queued&limit=1"), () =>
      beside.upload("jpg", SCAN),
    );
    if (round === 0) await sleep(5_000); // the engines start
    for (const [name, request] of Object.entries(cases)) {
      for (const side of [without, beside]) {
        const load = { connections: 1, count: 1, request: () => request(side) };
        const [time = 0] = (await drive(side.server.url, load)).times;
        side.times.set(name, [...(side.times.get(name) ?? []), time]);
      }
    }
  }
  for (const name of Object.keys(cases)) {
    const [theirs = [], ours = []] = [without.times.get(name), beside.times.get(name)];
    bench.report({
      name: `${name} beside the worker (floor: none)`,
      unit: "ms p50",
      better: "less",
      floor: median(theirs),
      ours: median(ours),
      note: `p99 ${quantile(theirs, 0.99).toFixed(1)} | ${quantile(ours, 0.99).toFixed(1)}`,
    });
  }
}

async function fillQueue({ url }: Program, list: Wire, upload: () => Wire): Promise<void> {
  const { total } = await ask<{ total: number }>(url, list);
  for (let missing = BACKLOG - total; missing > 0; missing--) await ask(url, upload());
}
