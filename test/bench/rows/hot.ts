import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ask, get, type Load, type Wire } from "../load.ts";
import { ALL_CORES } from "../programs.ts";
import type { Aims, Line } from "../report.ts";
import { type Bench, compare, contend, type Figures, MAIN } from "../server.ts";

const repeat = ({ seconds }: Bench, request: Wire): Load => ({
  connections: 32,
  seconds,
  request: () => request,
});

/** The line of CPU time a request, requests a second beside it. */
export function cpuLine(name: string, { floor, fastify, ours }: Figures, aims: Aims): Line {
  const rates = [floor, fastify, ours].map((side) => side?.rate.toFixed(0) ?? "-");
  return {
    name,
    unit: "ms CPU",
    floor: floor?.cpu,
    fastify: fastify?.cpu,
    ours: ours?.cpu ?? Number.NaN,
    aims,
    note: `requests/s ${rates.join(" | ")}`,
  };
}

/** The line of requests a second, where not CPU time decides; that stands beside it. */
export function rateLine(name: string, { floor, fastify, ours }: Figures, aims?: Aims): Line {
  const costs = [floor, fastify, ours].map((side) => side?.cpu.toFixed(3) ?? "-");
  return {
    name,
    unit: "requests/s",
    floor: floor?.rate,
    fastify: fastify?.rate,
    ours: ours?.rate ?? Number.NaN,
    ...(aims && { aims }),
    note: `ms CPU ${costs.join(" | ")}`,
  };
}

/** `GET /`. With log lines the floor writes one too. */
export async function root(bench: Bench): Promise<void> {
  for (const isLogging of [false, true]) {
    const sides = { floor: "peer", fastify: "peer", ours: {} } as const;
    const { contenders } = await contend(bench, sides, { isLogging });
    const figures = await compare(contenders, bench, () => repeat(bench, get("/")));
    for (const { program } of contenders) await program.stop();
    const name = `GET /, log ${isLogging ? "on" : "off"}`;
    bench.report(cpuLine(name, figures, { floor: 0.85, fastify: 1.1 }));
  }
}

/** Of a page that all contenders answer alike. */
async function read(bench: Bench, path: string, { contenders, token }: Contest) {
  const request = get(path, token);
  const answers = contenders.map(({ program }) => ask(program.url, request));
  const [first, ...others] = await Promise.all(answers);
  for (const other of others) assert.deepEqual(other, first, "not all give the same answer");
  return compare(contenders, bench, () => repeat(bench, request));
}

type Contest = Awaited<ReturnType<typeof contend>>;

/** HS256, one look-up, JSON. */
export async function usersMe(bench: Bench): Promise<void> {
  const contest = await contend(bench, { floor: "peer", fastify: "peer", ours: {} });
  const figures = await read(bench, "/api/v1/users/me", contest);
  bench.report(cpuLine("GET /users/me", figures, { floor: 0.75, fastify: 1.1 }));
}

const LIST = "/api/v1/docs/me?limit=20";

export async function docsMe(bench: Bench): Promise<void> {
  const contest = await contend(bench, { fastify: "peer", ours: {} }, { documents: 500 });
  const figures = await read(bench, LIST, contest);
  bench.report(cpuLine("GET /docs/me, 20 of 500", figures, { fastify: 1.1 }));
}

/** Two processes against one, on all cores; the load runs on one of them. */
export async function cluster(bench: Bench): Promise<void> {
  const variables = readFileSync(join(MAIN, "../config-variables.js"), "utf8");
  if (!variables.includes("WEB_CONCURRENCY"))
    throw new Error("skipped: this server does not know WEB_CONCURRENCY");
  const sides = { floor: { WEB_CONCURRENCY: "1" }, ours: { WEB_CONCURRENCY: "2" } };
  const contest = await contend(bench, sides, { documents: 500, cores: ALL_CORES });
  const figures = await read(bench, LIST, contest);
  bench.report(rateLine("docs/me, 2 processes (floor: 1)", figures));
}
