import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { compileServer, type ServerProcess, startServer } from "../support/server-process.ts";

/**
 * How long uploads, lists and logins take while the OCR worker reads scans on the same machine, and
 * while there is none: two servers, asked in turn. Prints medians, 99th percentiles in ms and ratios.
 */
const ROUNDS = Number(process.argv[2] ?? 200);
/** Scans that wait for the worker at least. */
const BACKLOG = 5;

const ADMIN = { email: "admin@example.org", password: "A long passphrase, 1" };
const SCAN = readFileSync(join(import.meta.dirname, "../samples/invoice-scan.jpg"));
const SMALL = Buffer.from("Minutes of a meeting. ".repeat(1000));

const folder = mkdtempSync(join(tmpdir(), "nassaq-bench-"));
const main = await compileServer(join(folder, "built"));
let names = 0;

async function start(name: string, worker: "yes" | "no") {
  const env = {
    EMBEDDED_WORKER: worker,
    ACCESS_TOKEN_EXPIRE_MINUTES: "600",
    AUTH_RATE_PER_ADDRESS: "0",
    AUTH_RATE_PER_ACCOUNT: "0",
    BOOTSTRAP_ADMIN_EMAIL: ADMIN.email,
    BOOTSTRAP_ADMIN_PASSWORD: ADMIN.password,
  };
  const data = join(folder, name);
  mkdirSync(data);
  const server = await startServer(data, env, main);
  const { access_token } = (await (await login(server)).json()) as { access_token: string };
  return { server, headers: { Authorization: `Bearer ${access_token}` } };
}

type Running = Awaited<ReturnType<typeof start>>;

function login({ url }: ServerProcess) {
  const body = new URLSearchParams({ username: ADMIN.email, password: ADMIN.password });
  return fetch(`${url}/api/v1/auth/login`, { method: "POST", body });
}

function upload({ server, headers }: Running, bytes: Buffer, kind: string) {
  const body = new FormData();
  names += 1;
  body.append("file", new Blob([new Uint8Array(bytes)]), `${names}.${kind}`);
  return fetch(`${server.url}/api/v1/docs/upload`, { method: "POST", headers, body });
}

function list({ server, headers }: Running, query: string) {
  return fetch(`${server.url}/api/v1/docs/me?${query}`, { headers });
}

async function keepBusy(running: Running): Promise<void> {
  const waiting = await list(running, "status=Queued&limit=1");
  const { total } = (await waiting.json()) as { total: number };
  for (let missing = BACKLOG - total; missing > 0; missing--) await upload(running, SCAN, "jpg");
}

const CASES = [
  ["login", ({ server }: Running) => login(server)],
  ["upload 22 KB", (running: Running) => upload(running, SMALL, "bin")],
  ["list 20", (running: Running) => list(running, "limit=20")],
] as const;

const servers = {
  without: await start("without", "no"),
  beside: await start("beside", "yes"),
};
try {
  const times = new Map<string, number[]>();
  for (let round = 0; round < ROUNDS; round++) {
    await keepBusy(servers.beside);
    if (round === 0) await sleep(5_000); // the engines start
    for (const [what, call] of CASES)
      for (const [name, running] of Object.entries(servers)) {
        const started = performance.now();
        const response = await call(running);
        await response.arrayBuffer();
        if (!response.ok) throw new Error(`${what}: ${response.status}`);
        const key = `${what} ${name}`;
        times.set(key, [...(times.get(key) ?? []), performance.now() - started]);
      }
  }
  const at = (key: string, part: number) => {
    const sorted = (times.get(key) ?? []).sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length * part)] ?? 0;
  };
  process.stdout.write("                 without p50    p99   beside p50    p99   ratio of p50\n");
  for (const [what] of CASES) {
    const figures = Object.keys(servers).flatMap((name) =>
      [0.5, 0.99].map((part) => at(`${what} ${name}`, part)),
    );
    const ratio = (figures[2] ?? 0) / (figures[0] ?? 1);
    const columns = figures.map((figure) => figure.toFixed(1).padStart(10)).join("");
    process.stdout.write(`${what.padEnd(14)}${columns}   ${ratio.toFixed(2)}\n`);
  }
} finally {
  for (const { server } of Object.values(servers)) {
    server.kill("SIGTERM");
    await server.exit;
  }
  rmSync(folder, { recursive: true, force: true });
}
