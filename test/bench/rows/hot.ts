import assert from "node:assert/strict";
import { cpSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { HEAVY } from "../fill.ts";
import { ask, get, type Load, type Wire } from "../load.ts";
import { ALL_CORES } from "../programs.ts";
import type { Line } from "../report.ts";
import {
  type Bench,
  compare,
  contend,
  type Figures,
  loginAs,
  MAIN,
  makeData,
  startServer,
} from "../server.ts";

const repeat = ({ seconds }: Bench, request: Wire): Load => ({
  connections: 32,
  seconds,
  request: () => request,
});

/** The line of CPU time a request, requests a second beside it. */
export function cpuLine(name: string, figures: Figures, aims: NonNullable<Line["aims"]>): Line {
  const { floor, fastify, ours } = figures;
  const rates = [floor, fastify, ours].map((side) => side?.rate.toFixed(0) ?? "-");
  return {
    name,
    unit: "ms CPU",
    better: "less",
    floor: floor?.cpu,
    fastify: fastify?.cpu,
    ours: ours?.cpu ?? Number.NaN,
    aims,
    note: `requests/s ${rates.join(" | ")}`,
  };
}

/** `GET /`. With log lines the floor writes one too. */
export async function root(bench: Bench): Promise<void> {
  await makeData(join(bench.folder, "data"));
  for (const isLogging of [false, true]) {
    const contenders = await contend(bench, ["floor", "fastify", "ours"], isLogging);
    const figures = await compare(contenders, bench, () => repeat(bench, get("/")));
    for (const { program } of contenders) await program.stop();
    const name = `GET /, log ${isLogging ? "on" : "off"}`;
    bench.report(cpuLine(name, figures, { floor: 0.85, fastify: 1.1 }));
  }
}

/** A page that a user reads, `user`'s token being good for all. */
async function read(bench: Bench, path: string, user: string | undefined, peers: "floor"[]) {
  const token = await tokenFor(bench, user);
  const contenders = await contend(bench, [...peers, "fastify", "ours"]);
  const answers = contenders.map(({ program }) => ask(program.url, get(path, token)));
  const [first, ...others] = await Promise.all(answers);
  for (const other of others) assert.deepEqual(other, first, "not all give the same answer");
  return compare(contenders, bench, () => repeat(bench, get(path, token)));
}

/** Of a session in the data that every contender gets a copy of. */
export async function tokenFor({ folder }: Bench, user?: string): Promise<string> {
  const server = await startServer(join(folder, "data"));
  const token = await loginAs(server.url, user);
  await server.stop();
  return token;
}

/** HS256, one look-up, JSON. */
export async function usersMe(bench: Bench): Promise<void> {
  await makeData(join(bench.folder, "data"));
  const figures = await read(bench, "/api/v1/users/me", undefined, ["floor"]);
  bench.report(cpuLine("GET /users/me", figures, { floor: 0.75, fastify: 1.1 }));
}

export async function docsMe(bench: Bench): Promise<void> {
  await makeData(join(bench.folder, "data"), 500);
  const figures = await read(bench, "/api/v1/docs/me?limit=20", HEAVY, []);
  bench.report(cpuLine("GET /docs/me, 20 of 500", figures, { fastify: 1.1 }));
}

/** Two processes against one, on all cores; the load runs on one of them. */
export async function cluster(bench: Bench): Promise<void> {
  const variables = readFileSync(join(MAIN, "../config-variables.js"), "utf8");
  if (!variables.includes("WEB_CONCURRENCY"))
    throw new Error("skipped: this server does not know WEB_CONCURRENCY");
  const data = await makeData(join(bench.folder, "data"), 500);
  const token = await tokenFor(bench, HEAVY);
  const startWith = (count: string) => {
    const copy = join(bench.folder, count);
    cpSync(data, copy, { recursive: true });
    return startServer(copy, { cores: ALL_CORES, env: { WEB_CONCURRENCY: count } });
  };
  const contenders = [
    { name: "floor" as const, program: await startWith("1") },
    { name: "ours" as const, program: await startWith("2") },
  ];
  const request = get("/api/v1/docs/me?limit=20", token);
  const { floor, ours } = await compare(contenders, bench, () => repeat(bench, request));
  bench.report({
    name: "docs/me, 2 processes (floor: 1)",
    unit: "requests/s",
    better: "more",
    floor: floor?.rate,
    ours: ours?.rate ?? Number.NaN,
    note: `ms CPU a request ${floor?.cpu.toFixed(3)} | ${ours?.cpu.toFixed(3)}`,
  });
}
