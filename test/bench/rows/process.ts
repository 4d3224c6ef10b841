import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type CountedRequest,
  countStatements,
  openCountingDatabase,
} from "../../support/tds/statement-counts.ts";
import {
  ADMIN,
  type Bench,
  inTurn,
  loginAs,
  makeData,
  PASSWORD,
  sidesOf,
  startServer,
} from "../contest.ts";
import { ALL_CORES } from "../programs.ts";
import type { Side } from "../report.ts";

/** Starts both builds alone, of new data or of what each has run on before. */
async function builds({ mains, folder }: Bench) {
  const existing = new Map<Side, string>();
  for (const side of sidesOf(mains)) {
    const one = { folder, mains: { ours: mains[side as "ours"] } };
    existing.set(side, (await makeData(one)).data);
  }
  let count = 0;
  return (side: Side, isFirst: boolean, env = {}) => {
    const data = isFirst ? join(folder, `first${++count}`) : (existing.get(side) ?? "");
    return startServer(mains[side as "ours"], data, env, ALL_CORES);
  };
}

/** From the start of the process to its first answer. */
export async function startTimes(bench: Bench): Promise<void> {
  const begin = await builds(bench);
  const times = async (side: Side, isFirst: boolean) => {
    const server = await begin(side, isFirst);
    // The first one may still make its admin.
    await loginAs(server.url);
    await server.stop();
    return server.startedIn;
  };
  const figures = await inTurn(bench.rounds, sidesOf(bench.mains), async (side) => {
    return { existing: await times(side, false), first: await times(side, true) };
  });
  const unit = "ms p50";
  const { existing, first } = figures;
  bench.report({ name: "start, existing data", unit, ...existing, aims: { atMost: 250 } });
  bench.report({ name: "start, first", unit, ...first, aims: { atMost: 350 } });
}

const REST = 10_000;

/** Resident memory after ten seconds in which nothing is asked. */
export async function idleMemory(bench: Bench): Promise<void> {
  const begin = await builds(bench);
  const { first, existing } = await inTurn(1, sidesOf(bench.mains), async (side) => {
    const env = { LOG_LEVEL: "info" };
    const servers = [await begin(side, true, env), await begin(side, false, env)];
    await sleep(REST);
    const [first = 0, existing = 0] = servers.map((server) => server.memory());
    for (const server of servers) await server.stop();
    return { first, existing };
  });
  const unit = "MiB RSS";
  bench.report({ name: "at rest, existing data", unit, ...existing, aims: { atMost: 70 } });
  bench.report({ name: "at rest, after a first start", unit, ...first, aims: { atMost: 72 } });
}

const STATEMENTS: Record<CountedRequest, number> = {
  "users/me": 1,
  "docs/me": 3,
  login: 5,
  upload: 10,
  download: 3,
  delete: 8,
};

/** Round trips between request and answer, from a stand-in for SQL Server: no time is told. */
export async function statements({ mains, folder, report }: Bench): Promise<void> {
  const counts = await inTurn(1, sidesOf(mains), async (side) => {
    const database = await openCountingDatabase();
    try {
      const env = { ...database.env, SQL_TRUST_SERVER_CERTIFICATE: "yes" };
      const { url } = await startServer(mains[side as "ours"], join(folder, side), env);
      const account = { username: ADMIN, password: PASSWORD, token: await loginAs(url) };
      return await countStatements(database, url, account, STATEMENTS, 8);
    } finally {
      await database.remove();
    }
  });
  for (const [name, atMost] of Object.entries(STATEMENTS))
    report({
      name: `statements of ${name} on SQL Server`,
      unit: "number",
      ...counts[name as CountedRequest],
      aims: { atMost },
    });
}
