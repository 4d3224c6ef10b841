import { setTimeout as sleep } from "node:timers/promises";
import { collectGarbage } from "../../support/memory.ts";
import {
  ADMIN,
  type Bench,
  type Contenders,
  contend,
  inTurn,
  loginAs,
  sidesOf,
} from "../contest.ts";
import { HEAVY, LIGHT, PATHS } from "../fill.ts";
import { drive, get } from "../load.ts";
import { type Figures, quantile } from "../report.ts";

const REQUESTS = 100;
/** In ms. Then the audit row of a login is sealed, by a commit that is no part of a list. */
const SEALED_AFTER = 1_500;

/** Of a page that one client asks for, and the longest that `GET /` had to wait meanwhile. */
async function pageTimes({ seconds }: Bench, url: string, path: string, token: string) {
  const request = get(path, token);
  // A list that takes long is not asked for so often.
  const load = { connections: 1, count: REQUESTS, seconds: seconds * 2, request: () => request };
  await drive(url, { ...load, count: 3 });
  // Later it would hold the load, not the server.
  collectGarbage();
  const isDone = new AbortController();
  const pings = drive(url, { connections: 1, request: () => get("/"), until: isDone.signal });
  const { times } = await drive(url, load).finally(() => isDone.abort());
  const [p50, p99] = [quantile(times, 0.5), quantile(times, 0.99)];
  const hold = quantile((await pings).times, 1);
  return { p50, p99, hold, count: times.length };
}

/** The queries of an administrator. */
const ADMIN_LISTS = {
  "no filter": "docs?",
  "status Failed, one in ten": "docs?status=Failed",
  "status Queued, one in 5,000": "docs?status=Queued",
  "user of nearly all": "docs?user_id=2",
  "user of 1,000": "docs?user_id=3",
  path: "docs?path=folder42/4242",
  "part of a name, rare": "docs?q=report-4242",
  "part of a name, one in four": "docs?q=invoice",
  "part of a name, one letter": "docs?q=e",
  "audit log, no filter": "logs?",
  "audit log, rare action": "logs?action_type=document_delete",
  "audit log, user of 1,000": "logs?user_id=3",
};

/** What no index serves may take its time, but not the others'. */
const LONG_LISTS = {
  "rare status and part of a name": "docs?status=Queued&q=invoice",
  "nothing found": "docs?status=Processing&q=scan",
  "skip=900000": "docs?skip=900000",
  "skip=900000, status Finished": "docs?skip=900000&status=Finished",
};

const LISTS: [string, number | undefined, Record<string, string>][] = [
  [HEAVY, 10, { "own list, owner of a million": "docs/me?" }],
  [LIGHT, 10, { "own list, owner of 1,000": "docs/me?" }],
  [ADMIN, 20, ADMIN_LISTS],
  [ADMIN, undefined, LONG_LISTS],
];

/** Measures pages of each contender, asked for by one user. */
async function pages(bench: Bench, contenders: Contenders, email?: string) {
  const tokens: Record<string, string> = {};
  for (const [side, { url }] of Object.entries(contenders))
    tokens[side] = await loginAs(url, email);
  await sleep(SEALED_AFTER);
  return (path: string) =>
    inTurn(1, sidesOf(contenders), (side) =>
      pageTimes(bench, contenders[side]?.url ?? "", `/api/v1/${path}`, tokens[side] ?? ""),
    );
}

export async function lists(bench: Bench): Promise<void> {
  const { contenders } = await contend(bench, {}, { documents: 1_000_000, light: 1_000 });
  const longest: Figures = {};
  for (const [email, atMost, cases] of LISTS) {
    const measure = await pages(bench, contenders, email);
    for (const [name, path] of Object.entries(cases)) {
      const { p50, p99, hold, count } = await measure(`${path}&limit=20`);
      for (const side of sidesOf(hold))
        longest[side] = Math.max(longest[side] ?? 0, hold[side] ?? 0);
      const held = `loop held ${hold.ours?.toFixed(0)}`;
      const note = `p50 ${p50.ours?.toFixed(1)}, ${held}, ${count.ours} requests`;
      const aims = atMost === undefined ? {} : { aims: { atMost } };
      bench.report({ name, unit: "ms p99", ...p99, ...aims, note });
    }
  }
  const name = "longest hold of the loop by a list";
  bench.report({ name, unit: "ms", ...longest, aims: { atMost: 20 } });
}

export async function paths(bench: Bench): Promise<void> {
  const { contenders } = await contend(bench, {}, { documents: 1 });
  const measure = await pages(bench, contenders);
  const { p50, p99, hold } = await measure("paths");
  bench.report({
    name: `GET /paths, ${PATHS}`,
    unit: "ms p50",
    ...p50,
    aims: { atMost: 25 },
    note: `p99 ${p99.ours?.toFixed(1)}, loop held ${hold.ours?.toFixed(0)}`,
  });
}
