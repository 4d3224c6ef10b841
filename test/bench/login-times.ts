import { performance } from "node:perf_hooks";
import { hashSync } from "bcryptjs";
import { PASSWORD, startTestApp } from "../support/app.ts";

/**
 * How long a refused login takes: with an unknown address, a wrong password, and the wrong password
 * of an inactive account. Prints medians, and ratios to the first. Equal work is proven by the
 * tests that count comparisons; this shows what a client can measure.
 */
const ROUNDS = Number(process.argv[2] ?? 30);

const COST = 12;

const app = await startTestApp({ passwordCost: COST });
const active = await app.person();
const inactive = await app.person({ isActive: false });
await app.app.database.run("UPDATE Users SET password_hash = @hash", {
  hash: hashSync(PASSWORD, COST),
});
const cases = [
  ["an unknown address", "nobody@example.com"],
  ["a wrong password", active.email],
  ["an inactive account", inactive.email],
] as const;

const times = new Map<string, number[]>(cases.map(([name]) => [name, []]));
// In turn, so that what else the machine does meets all alike.
for (let round = 0; round < ROUNDS; round++) {
  for (const [name, username] of cases) {
    const started = performance.now();
    const form = { username, password: `not ${PASSWORD}` };
    const { status } = await app.call("POST", "/api/v1/auth/login", { form });
    if (status !== 401) throw new Error(`${name}: ${status}`);
    times.get(name)?.push(performance.now() - started);
  }
}
await app.close();

const medians = cases.map(([name]) => {
  const sorted = (times.get(name) ?? []).sort((a, b) => a - b);
  return [name, sorted[Math.floor(sorted.length / 2)] ?? 0] as const;
});
const base = medians[0]?.[1] ?? 1;
for (const [name, median] of medians)
  process.stdout.write(
    `${name.padEnd(22)} ${median.toFixed(1)} ms  ${(median / base).toFixed(3)}\n`,
  );
