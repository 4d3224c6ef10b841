import { cpus } from "node:os";
import {
  ADMIN,
  type Bench,
  compare,
  contend,
  inTurn,
  PASSWORD,
  rateLine,
  sidesOf,
} from "../contest.ts";
import { ask, drive, get, postForm } from "../load.ts";
import { ALL_CORES, type Program } from "../programs.ts";
import { quantile } from "../report.ts";

const loginOf = (username: string, password = PASSWORD) =>
  postForm("/api/v1/auth/login", { username, password });

/** On all cores: what is asked is whether hashing gets in the way of others. */
const FREE = { cores: ALL_CORES };

/** How long `users/me` takes while 32 logins wait. */
export async function loginStorm(bench: Bench): Promise<void> {
  const { contenders, token } = await contend(bench, {}, FREE);
  const request = get("/api/v1/users/me", token);
  const seconds = bench.seconds * 4;
  // As fast as one client asks; what the storm refuses is a part of it.
  const calm = { connections: 1, seconds, request: () => request };
  const login = loginOf(ADMIN);
  const storm = { connections: 32, seconds, request: () => login, accepts: () => true };
  const { idle, busy, p50 } = await inTurn(1, sidesOf(contenders), async (side) => {
    const { url } = contenders[side] as Program;
    await drive(url, { ...calm, seconds: 1 });
    const before = (await drive(url, calm)).times;
    const [{ times }] = await Promise.all([drive(url, calm), drive(url, storm)]);
    return { idle: quantile(before, 0.99), busy: quantile(times, 0.99), p50: quantile(times, 0.5) };
  });
  bench.report({
    name: "users/me in a login storm (floor: idle)",
    unit: "ms p99",
    ...busy,
    floor: idle.ours ?? Number.NaN,
    aims: { floor: 0.5 },
    note: `p50 ${p50.ours?.toFixed(2)}`,
  });
}

/** Against bcryptjs alone in as many threads. */
export async function logins(bench: Bench): Promise<void> {
  const threads = Math.max(1, cpus().length - 1);
  const env = { BENCH_THREADS: `${threads}` };
  const { contenders } = await contend(bench, { floor: "bcrypt" }, { ...FREE, env });
  const login = loginOf(ADMIN);
  // Hashing is hot from the start.
  const [seconds, warmSeconds] = [bench.seconds * 2, 0.5];
  const load = { connections: threads * 2, seconds, request: () => login };
  const figures = await compare(contenders, { ...bench, warmSeconds }, () => load);
  bench.report(rateLine("logins (floor: bcryptjs)", figures, { floor: 0.95 }));
}

/** Whether the time of a refused login tells why it was refused; a test counts the comparisons. */
export async function refusedLogins(bench: Bench): Promise<void> {
  const { contenders } = await contend(bench, {}, FREE);
  const { url } = contenders.ours as Program;
  const inactive = "inactive@example.org";
  const json = { full_name: "Inactive", email: inactive, password: PASSWORD };
  await ask(url, "POST", "/api/v1/auth/register", { json });
  const cases = {
    "an unknown address": "nobody@example.org",
    "a wrong password": ADMIN,
    "an inactive account": inactive,
  };
  const names = Object.keys(cases) as (keyof typeof cases)[];
  const { time } = await inTurn(bench.isQuick ? 5 : 20, names, async (name) => {
    const request = () => loginOf(cases[name], `not ${PASSWORD}`);
    const accepts = (status: number) => status === 401;
    const { times } = await drive(url, { connections: 1, count: 1, request, accepts });
    return { time: times[0] ?? Number.NaN };
  });
  const floor = time["an unknown address"] ?? Number.NaN;
  for (const name of names)
    bench.report({ name: `refused login: ${name}`, unit: "ms p50", floor, ours: time[name] ?? 0 });
}
