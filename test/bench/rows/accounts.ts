import { execFile } from "node:child_process";
import { cpus } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { ask, drive, get, postForm, postJson } from "../load.ts";
import { ALL_CORES, command } from "../programs.ts";
import { median, quantile } from "../report.ts";
import { ADMIN, type Bench, loginAs, makeData, PASSWORD, startServer } from "../server.ts";

const loginOf = (username: string, password = PASSWORD) =>
  postForm("/api/v1/auth/login", { username, password });

/** On all cores: what is asked is whether hashing gets in the way of others. */
const startAlone = async ({ folder }: Bench) =>
  startServer(await makeData(join(folder, "data")), { cores: ALL_CORES });

/** How long `users/me` takes while 32 logins wait. */
export async function loginStorm(bench: Bench): Promise<void> {
  const { url } = await startAlone(bench);
  const request = get("/api/v1/users/me", await loginAs(url));
  const seconds = bench.seconds * 4;
  // As fast as one client asks; what the storm refuses is a part of it.
  const calm = { connections: 1, seconds, request: () => request };
  await drive(url, { ...calm, seconds: 1 });
  const idle = await drive(url, calm);
  const login = loginOf(ADMIN);
  const storm = { connections: 32, seconds, request: () => login, accepts: () => true };
  const [busy] = await Promise.all([drive(url, calm), drive(url, storm)]);
  const p99 = (times: number[]) => quantile(times, 0.99);
  bench.report({
    name: "users/me in a login storm (floor: idle)",
    unit: "ms p99",
    floor: p99(idle.times),
    ours: p99(busy.times),
    aims: { floor: 0.5 },
    note: `p50 ${median(idle.times).toFixed(2)} | ${median(busy.times).toFixed(2)}`,
  });
}

/** Against bcryptjs alone in as many threads. */
export async function logins(bench: Bench): Promise<void> {
  const { url } = await startAlone(bench);
  const threads = Math.max(1, cpus().length - 1);
  const seconds = bench.seconds * 2;
  const peer = join(import.meta.dirname, "../peers/bcrypt.ts");
  const login = loginOf(ADMIN);
  const alone: number[] = [];
  const ours: number[] = [];
  await loginAs(url);
  for (let round = 0; round < bench.rounds; round++) {
    const [name, args] = command(ALL_CORES, peer, `${threads}`, `${seconds}`);
    const { stdout } = await promisify(execFile)(name, args, { timeout: 60_000 });
    alone.push(Number(stdout));
    const load = { connections: threads * 2, seconds, request: () => login };
    ours.push((await drive(url, load)).rate);
  }
  bench.report({
    name: "logins (floor: bcryptjs)",
    unit: "logins/s",
    floor: median(alone),
    ours: median(ours),
    aims: { floor: 0.95 },
    note: `threads ${threads}`,
  });
}

/** Whether the time of a refused login tells why it was refused; a test counts the comparisons. */
export async function refusedLogins(bench: Bench): Promise<void> {
  const { url } = await startAlone(bench);
  const inactive = "inactive@example.org";
  const account = { full_name: "Inactive", email: inactive, password: PASSWORD };
  await ask(url, postJson("/api/v1/auth/register", account));
  const cases = {
    "an unknown address": "nobody@example.org",
    "a wrong password": ADMIN,
    "an inactive account": inactive,
  };
  const times = new Map<string, number[]>();
  for (let round = 0; round < (bench.isQuick ? 5 : 20); round++) {
    for (const [name, username] of Object.entries(cases)) {
      const request = () => loginOf(username, `not ${PASSWORD}`);
      const load = {
        connections: 1,
        count: 1,
        request,
        accepts: (status: number) => status === 401,
      };
      const [time = 0] = (await drive(url, load)).times;
      times.set(name, [...(times.get(name) ?? []), time]);
    }
  }
  const floor = median(times.get("an unknown address") ?? []);
  for (const [name, all] of times) {
    const line = { name: `refused login: ${name}`, unit: "ms p50" };
    bench.report({ ...line, floor, ours: median(all) });
  }
}
