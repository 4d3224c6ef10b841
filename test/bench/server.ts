import { cpSync, mkdirSync, mkdtempSync } from "node:fs";
import { join } from "node:path";
import { fill, HEAVY } from "./fill.ts";
import { ask, drive, get, type Load, postForm } from "./load.ts";
import { type Program, type ProgramOptions, start } from "./programs.ts";
import { type Line, median } from "./report.ts";

const ROOT = join(import.meta.dirname, "../..");
/** The built server. */
export const MAIN = join(ROOT, "dist/main.js");
export const ADMIN = "admin@example.org";
export const PASSWORD = "A long passphrase, 1";

/** What a row gets. */
export interface Bench {
  isQuick: boolean;
  /** The row's own, empty; removed after it. */
  folder: string;
  rounds: number;
  /** Of one measurement. */
  seconds: number;
  /** At most, before the first one, so that V8 has compiled what runs hot. */
  warmSeconds: number;
  report(line: Line): void;
}

/** As in production, on embedded parts, without limits of logins and without the OCR worker. */
function environment(folder: string): Record<string, string> {
  return {
    ENVIRONMENT: "production",
    DATA_DIR: folder,
    SQL_SERVER: "embedded",
    MONGO_HOST: "embedded",
    MESSAGE_BROKER_URL: "embedded",
    BLOB_STORAGE_TYPE: "local",
    EMBEDDED_WORKER: "no",
    JWT_SECRET_KEY: "a key of the benchmarks, which protects nothing",
    BOOTSTRAP_ADMIN_EMAIL: ADMIN,
    BOOTSTRAP_ADMIN_PASSWORD: PASSWORD,
    ACCESS_TOKEN_EXPIRE_MINUTES: "600",
    AUTH_RATE_PER_ADDRESS: "0",
    AUTH_RATE_PER_ACCOUNT: "0",
    LOG_LEVEL: "error",
  };
}

type Options = Partial<Omit<ProgramOptions, "folder">>;

/** Starts the server on the data in `folder`, which is made where it is missing. */
export function startServer(folder: string, options: Options = {}): Promise<Program> {
  mkdirSync(folder, { recursive: true });
  const env = {
    ...environment(folder),
    ...(options.isLogging && { LOG_LEVEL: "info" }),
    ...options.env,
  };
  return start(MAIN, { ...options, folder, env });
}

/** Starts `peers/<name>.ts` on the data in `folder`. */
export function startPeer(name: string, folder: string, isLogging = false): Promise<Program> {
  const env = { ...environment(folder), LOG_LINES: isLogging ? "on" : "off" };
  return start(join(import.meta.dirname, "peers", `${name}.ts`), { folder, env, isLogging });
}

/** A folder in which the server has run once, with so many documents of two users, if any. */
export async function makeData(folder: string, heavy = 0, light = 0): Promise<string> {
  const server = await startServer(folder);
  await loginAs(server.url);
  await server.stop();
  if (heavy > 0) fill(join(folder, "nassaq.db"), heavy, light);
  return folder;
}

/** An access token. Tries again while the first admin is being made. */
export async function loginAs(url: string, username = ADMIN): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    try {
      const form = postForm("/api/v1/auth/login", { username, password: PASSWORD });
      return (await ask<{ access_token: string }>(url, form)).access_token;
    } catch (error) {
      if (attempt === 20) throw error;
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }
}

export interface Contender {
  name: "floor" | "fastify" | "ours";
  program: Program;
}

type Sides = Partial<Record<Contender["name"], "peer" | Record<string, string>>>;

/**
 * Starts peers, and servers with these variables, each on its own copy of data of so many
 * `documents`; and a token of their owner, or of the admin where there are none, good for all.
 */
export async function contend(
  { folder }: Bench,
  sides: Sides,
  { documents = 0, ...options }: Options & { documents?: number } = {},
): Promise<{ contenders: Contender[]; token: string }> {
  const data = await makeData(mkdtempSync(join(folder, "data")), documents);
  const server = await startServer(data);
  const token = await loginAs(server.url, documents > 0 ? HEAVY : ADMIN);
  await server.stop();
  const contenders: Contender[] = [];
  for (const name of Object.keys(sides) as Contender["name"][]) {
    const copy = mkdtempSync(join(folder, name));
    cpSync(data, copy, { recursive: true });
    const side = sides[name] ?? "peer";
    const program =
      side === "peer"
        ? await startPeer(name, copy, options.isLogging)
        : await startServer(copy, { ...options, env: side });
    contenders.push({ name, program });
  }
  return { contenders, token };
}

/** Medians of the rounds: CPU time a request in milliseconds, and requests a second. */
export type Figures = Partial<Record<Contender["name"], { cpu: number; rate: number }>>;

const WARM_COUNT = 15_000;

/** Measures the contenders in turn, after a warm-up. `loadOf` makes each one's requests. */
export async function compare(
  contenders: readonly Contender[],
  { rounds, warmSeconds }: Pick<Bench, "rounds" | "warmSeconds">,
  loadOf: (contender: Contender) => Load,
): Promise<Figures> {
  const results = contenders.map((contender) => {
    return { ...contender, load: loadOf(contender), cpu: [] as number[], rate: [] as number[] };
  });
  for (let round = -1; round < rounds; round++) {
    for (const { program, load, cpu, rate } of results) {
      let before = 0;
      const onBegin = () => {
        before = program.cpu();
      };
      const warm = round < 0 && load.seconds ? { seconds: warmSeconds, count: WARM_COUNT } : {};
      const done = await drive(program.url, { ...load, ...warm, onBegin });
      if (round < 0) continue;
      cpu.push((program.cpu() - before) / done.times.length);
      rate.push(done.rate);
    }
  }
  return Object.fromEntries(
    results.map(({ name, cpu, rate }) => [name, { cpu: median(cpu), rate: median(rate) }]),
  );
}

/** The longest answer to `GET /` while `work` runs, in milliseconds: how long the loop was held. */
export async function longestHold(url: string, work: () => Promise<unknown>): Promise<number> {
  let isDone = false;
  const pings = (async () => {
    let longest = 0;
    while (!isDone) {
      const { times } = await drive(url, { connections: 1, count: 50, request: () => get("/") });
      longest = Math.max(longest, ...times);
    }
    return longest;
  })();
  await work().finally(() => {
    isDone = true;
  });
  return pings;
}
