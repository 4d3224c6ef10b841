import assert from "node:assert/strict";
import { type Bench, compare, contend, cpuLine, rateLine } from "../contest.ts";
import { ask, get, type Load, type Wire, withToken } from "../load.ts";
import { ALL_CORES } from "../programs.ts";

const repeat = ({ seconds }: Bench, request: Wire): Load => ({
  connections: 32,
  seconds,
  request: () => request,
});

const PEERS = { floor: "floor", fastify: "fastify" };

/** `GET /`. With log lines the floor writes one too. */
export async function root(bench: Bench): Promise<void> {
  for (const [name, level] of Object.entries({ off: "error", on: "info" })) {
    const own = { ...bench, folder: `${bench.folder}/${name}` };
    const { contenders } = await contend(own, PEERS, { env: { LOG_LEVEL: level } });
    const figures = await compare(contenders, bench, () => repeat(bench, get("/")));
    for (const program of Object.values(contenders)) await program.stop();
    bench.report(cpuLine(`GET /, log ${name}`, figures, { floor: 0.85, fastify: 1.1 }));
  }
}

/** Of a page that all contenders answer alike. */
async function read(bench: Bench, path: string, contest: Awaited<ReturnType<typeof contend>>) {
  const request = get(path, contest.token);
  const answers = Object.values(contest.contenders).map(({ url }) =>
    ask(url, "GET", path, withToken(contest.token)),
  );
  const [first, ...others] = await Promise.all(answers);
  for (const other of others) assert.deepEqual(other, first, "not all give the same answer");
  return compare(contest.contenders, bench, () => repeat(bench, request));
}

/** HS256, one look-up, JSON. */
export async function usersMe(bench: Bench): Promise<void> {
  const figures = await read(bench, "/api/v1/users/me", await contend(bench, PEERS));
  bench.report(cpuLine("GET /users/me", figures, { floor: 0.75, fastify: 1.1 }));
}

const LIST = "/api/v1/docs/me?limit=20";

export async function docsMe(bench: Bench): Promise<void> {
  const contest = await contend(bench, { fastify: "fastify" }, { documents: 500 });
  bench.report(
    cpuLine("GET /docs/me, 20 of 500", await read(bench, LIST, contest), { fastify: 1.1 }),
  );
}

/** Two processes against one, on all cores; the load runs on one of them. */
export async function cluster(bench: Bench): Promise<void> {
  const options = { documents: 500, env: { WEB_CONCURRENCY: "2" }, cores: ALL_CORES };
  const contest = await contend(bench, { floor: { WEB_CONCURRENCY: "1" } }, options);
  bench.report(rateLine("docs/me, 2 processes (floor: 1)", await read(bench, LIST, contest)));
}
