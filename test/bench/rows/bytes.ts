import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { ask, get, type Load, postFile } from "../load.ts";
import { type Bench, type Contender, compare, contend } from "../server.ts";
import { cpuLine, rateLine } from "./hot.ts";

const LARGE = 50_000_000;
const SMALL = 20_000;

function uploads(bytes: Buffer, token: string, load: Omit<Load, "request">): () => Load {
  let names = 0;
  return () => ({
    ...load,
    request: () => postFile(`${load.connections}-${++names}`, bytes, token),
  });
}

export async function uploadLarge(bench: Bench): Promise<void> {
  const { token, contenders } = await contend(bench, { floor: "peer", ours: {} });
  const bytes = randomBytes(LARGE);
  // A few gigabytes are written at most.
  const few = { ...bench, rounds: bench.isQuick ? 1 : 3 };
  const measure = (connections: number, count: number) =>
    compare(contenders, few, uploads(bytes, token, { connections, count }));
  bench.report(cpuLine("upload 50 MB × 1", await measure(1, 4), { floor: 0.9 }));
  const ours = contenders.find(({ name }) => name === "ours")?.program;
  const before = ours?.memory() ?? 0;
  let peak = before;
  let isDone = false;
  const watch = (async () => {
    for (; !isDone; await sleep(20)) peak = Math.max(peak, ours?.memory() ?? 0);
  })();
  const together = await measure(10, 10).finally(() => {
    isDone = true;
  });
  await watch;
  bench.report(cpuLine("upload 50 MB × 10", together, { floor: 0.85 }));
  bench.report({
    name: "memory growth of 10 uploads of 50 MB",
    unit: "MiB",
    ours: peak - before,
    aims: { atMost: 40 },
  });
}

export async function uploadSmall(bench: Bench): Promise<void> {
  const { token, contenders } = await contend(bench, { fastify: "peer", ours: {} });
  const { seconds } = bench;
  const measure = (connections: number) =>
    compare(contenders, bench, uploads(randomBytes(SMALL), token, { connections, seconds }));
  bench.report(rateLine("upload 20 KB × 1", await measure(1), { fastify: 1 }));
  bench.report(rateLine("upload 20 KB × 16", await measure(16), { fastify: 1.3 }));
}

/** Loads of downloads of one file, which each contender has got before. */
async function downloads(contenders: Contender[], size: number, token: string) {
  const requests = new Map<Contender, Load["request"]>();
  const bytes = randomBytes(size);
  for (const contender of contenders) {
    const upload = postFile("download.bin", bytes, token);
    const { doc_id } = await ask<{ doc_id: number }>(contender.program.url, upload);
    const request = get(`/api/v1/docs/${doc_id}/download`, token);
    requests.set(contender, () => request);
  }
  return (load: Omit<Load, "request">) => (contender: Contender) => ({
    ...load,
    request: requests.get(contender) ?? (() => []),
  });
}

export async function downloadLarge(bench: Bench): Promise<void> {
  const { token, contenders } = await contend(bench, { floor: "peer", ours: {} });
  const loadOf = await downloads(contenders, LARGE, token);
  const measure = (connections: number) =>
    compare(contenders, bench, loadOf({ connections, count: 10 }));
  bench.report(cpuLine("download 50 MB × 1", await measure(1), { floor: 0.9 }));
  bench.report(cpuLine("download 50 MB × 10", await measure(10), { floor: 0.9 }));
}

/** The floor asks the same of token and database, and writes no audit row. */
export async function downloadSmall(bench: Bench): Promise<void> {
  const { token, contenders } = await contend(bench, { floor: "peer", ours: {} });
  const loadOf = await downloads(contenders, SMALL, token);
  const load = loadOf({ connections: 16, seconds: bench.seconds });
  const figures = await compare(contenders, bench, load);
  bench.report(rateLine("download 20 KB × 16 (floor: no audit)", figures, { floor: 0.6 }));
}
