import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { type Bench, compare, contend, cpuLine, rateLine } from "../contest.ts";
import { ask, get, type Load, postFile, type Wire, withToken } from "../load.ts";

const LARGE = 50_000_000;
const SMALL = 20_000;

/** Loads of uploads of these bytes, each under a name of its own. */
function uploads(bytes: Buffer, token: string, load: Omit<Load, "request">): () => Load {
  let names = 0;
  return () => ({
    ...load,
    request: () => postFile(`${load.connections}-${++names}`, bytes, token),
  });
}

export async function uploadLarge(bench: Bench): Promise<void> {
  const { token, contenders } = await contend(bench, { floor: "floor" });
  const bytes = randomBytes(LARGE);
  // A few gigabytes are written at most.
  const few = { ...bench, rounds: bench.isQuick ? 1 : 3 };
  const measure = (connections: number, count: number) =>
    compare(contenders, few, uploads(bytes, token, { connections, count }));
  bench.report(cpuLine("upload 50 MB × 1", await measure(1, 4), { floor: 0.9 }));
  const memory = () => contenders.ours?.memory() ?? Number.NaN;
  const before = memory();
  let peak = before;
  const watch = new AbortController();
  const watched = (async () => {
    for (; !watch.signal.aborted; await sleep(20)) peak = Math.max(peak, memory());
  })();
  const together = await measure(10, 10).finally(() => watch.abort());
  await watched;
  bench.report(cpuLine("upload 50 MB × 10", together, { floor: 0.85 }));
  const name = "memory growth of 10 uploads of 50 MB";
  bench.report({ name, unit: "MiB", ours: peak - before, aims: { atMost: 40 } });
}

export async function uploadSmall(bench: Bench): Promise<void> {
  const { token, contenders } = await contend(bench, { fastify: "fastify" });
  const { seconds } = bench;
  const measure = (connections: number) =>
    compare(contenders, bench, uploads(randomBytes(SMALL), token, { connections, seconds }));
  bench.report(rateLine("upload 20 KB × 1", await measure(1), { fastify: 1 }));
  bench.report(rateLine("upload 20 KB × 16", await measure(16), { fastify: 1.3 }));
}

/** Measures downloads of one file, which each contender gets before. */
async function downloads(bench: Bench, size: number) {
  const { token, contenders } = await contend(bench, { floor: "floor" });
  const multipart = [{ name: "file", filename: "download.bin", data: randomBytes(size) }];
  const options = { ...withToken(token), multipart };
  const requests: Record<string, Wire> = {};
  for (const [side, { url }] of Object.entries(contenders)) {
    const { doc_id } = await ask(url, "POST", "/api/v1/docs/upload", options);
    requests[side] = get(`/api/v1/docs/${doc_id}/download`, token);
  }
  return (load: Omit<Load, "request">) =>
    compare(contenders, bench, (side) => ({ ...load, request: () => requests[side] ?? [] }));
}

export async function downloadLarge(bench: Bench): Promise<void> {
  const measure = await downloads(bench, LARGE);
  for (const connections of [1, 10]) {
    const figures = await measure({ connections, count: 10 });
    bench.report(cpuLine(`download 50 MB × ${connections}`, figures, { floor: 0.9 }));
  }
}

/** The floor asks the same of token and database, and writes no audit row. */
export async function downloadSmall(bench: Bench): Promise<void> {
  const measure = await downloads(bench, SMALL);
  const figures = await measure({ connections: 16, seconds: bench.seconds });
  bench.report(rateLine("download 20 KB × 16 (floor: no audit)", figures, { floor: 0.6 }));
}
