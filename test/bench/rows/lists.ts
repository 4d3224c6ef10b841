import { join } from "node:path";
import { HEAVY, LIGHT, PATHS } from "../fill.ts";
import { drive, get } from "../load.ts";
import { quantile } from "../report.ts";
import { type Bench, loginAs, longestHold, makeData, startServer } from "../server.ts";

const REQUESTS = 100;

/** Of a page that one client asks for, and how long other requests waited meanwhile. */
async function pageTimes({ seconds }: Bench, url: string, path: string, token: string) {
  const request = get(path, token);
  // A list that takes long is not asked for so often.
  const load = { connections: 1, count: REQUESTS, seconds: seconds * 2, request: () => request };
  await drive(url, { ...load, count: 3 });
  let times: number[] = [];
  const hold = await longestHold(url, async () => {
    ({ times } = await drive(url, load));
  });
  return { p50: quantile(times, 0.5), p99: quantile(times, 0.99), hold, count: times.length };
}

const OWN = { "owner of a million": HEAVY, "owner of 1,000": LIGHT };

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
  "rare status and part of a name": "docs?status=Queued&q=invoice",
  "nothing found": "docs?status=Processing&q=scan",
  "skip=900000": "docs?skip=900000",
  "skip=900000, status Finished": "docs?skip=900000&status=Finished",
  "audit log, no filter": "logs?",
  "audit log, rare action": "logs?action_type=document_delete",
  "audit log, user of 1,000": "logs?user_id=3",
};

export async function lists(bench: Bench): Promise<void> {
  const { url } = await startServer(await makeData(join(bench.folder, "data"), 1_000_000, 1_000));
  let longest = 0;
  async function measure(name: string, path: string, token: string, atMost: number) {
    const { p50, p99, hold, count } = await pageTimes(
      bench,
      url,
      `/api/v1/${path}&limit=20`,
      token,
    );
    longest = Math.max(longest, hold);
    const note = `p50 ${p50.toFixed(1)}, loop held ${hold.toFixed(0)}, ${count} requests`;
    bench.report({ name, unit: "ms p99", ours: p99, aims: { atMost }, note });
  }
  for (const [name, email] of Object.entries(OWN))
    await measure(`own list, ${name}`, "docs/me?", await loginAs(url, email), 10);
  const admin = await loginAs(url);
  for (const [name, path] of Object.entries(ADMIN_LISTS)) await measure(name, path, admin, 20);
  bench.report({
    name: "longest hold of the loop by a list",
    unit: "ms",
    ours: longest,
    aims: { atMost: 20 },
  });
}

export async function paths(bench: Bench): Promise<void> {
  const { url } = await startServer(await makeData(join(bench.folder, "data"), 1));
  const { p50, p99, hold } = await pageTimes(bench, url, "/api/v1/paths", await loginAs(url));
  bench.report({
    name: `GET /paths, ${PATHS}`,
    unit: "ms p50",
    ours: p50,
    aims: { atMost: 25 },
    note: `p99 ${p99.toFixed(1)}, loop held ${hold.toFixed(0)}`,
  });
}
