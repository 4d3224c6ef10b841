import { cpSync, mkdirSync, mkdtempSync, renameSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fill, HEAVY } from "./fill.ts";
import { ask, drive, type Load } from "./load.ts";
import { type Program, start } from "./programs.ts";
import { type Figures, type Line, median, type Side } from "./report.ts";

export const ADMIN = "admin@example.org";
export const PASSWORD = "A long passphrase, 1";

/** What a row gets. */
export interface Bench {
  isQuick: boolean;
  /** The built servers: `ours`, and `against` where another one is to be compared with it. */
  mains: { against?: string; ours: string };
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
const ENVIRONMENT = {
  ENVIRONMENT: "production",
  SQL_SERVER: "embedded",
  MONGO_HOST: "embedded",
  MESSAGE_BROKER_URL: "embedded",
  BLOB_STORAGE_TYPE: "local",
  JWT_SECRET_KEY: "a key of the benchmarks, which protects nothing",
  BOOTSTRAP_ADMIN_EMAIL: ADMIN,
  BOOTSTRAP_ADMIN_PASSWORD: PASSWORD,
  ACCESS_TOKEN_EXPIRE_MINUTES: "600",
  AUTH_RATE_PER_ADDRESS: "0",
  AUTH_RATE_PER_ACCOUNT: "0",
  LOG_LEVEL: "error",
};

/** Starts a server, or a peer, on the data in `folder`, which is made where it is missing. */
export function startServer(
  main: string,
  folder: string,
  env: Record<string, string> = {},
  cores?: string,
): Promise<Program> {
  mkdirSync(folder, { recursive: true });
  return start(main, folder, { ...ENVIRONMENT, ...env }, cores);
}

/** Data on which a server, which is the key, has run once; kept for all rows. */
const made = new Map<string, { data: string; token: string }>();

/**
 * A folder in which the server has run once, with so many documents of two users, if any; and a
 * token of the first one, or of the admin. The other build makes it, as it may be the older one.
 */
export async function makeData(
  { folder, mains }: Pick<Bench, "folder" | "mains">,
  heavy = 0,
  light = 0,
): Promise<{ data: string; token: string }> {
  const main = mains.against ?? mains.ours;
  const run = async (data: string, email?: string) => {
    const server = await startServer(main, data);
    const token = await loginAs(server.url, email);
    await server.stop();
    return { data, token };
  };
  const empty = made.get(main) ?? (await run(mkdtempSync(join(tmpdir(), "data-"))));
  made.set(main, empty);
  mkdirSync(folder, { recursive: true });
  const data = mkdtempSync(join(folder, "data-"));
  cpSync(empty.data, data, { recursive: true });
  if (heavy === 0) return { ...empty, data };
  fill(join(data, "nassaq.db"), heavy, light);
  return run(data, HEAVY);
}

/** An access token. Tries again while the first admin is being made. */
export async function loginAs(url: string, username = ADMIN): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    try {
      const form = { username, password: PASSWORD };
      return (await ask(url, "POST", "/api/v1/auth/login", { form })).access_token;
    } catch (error) {
      if (attempt === 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

export type Contenders = Partial<Record<Side, Program>>;

interface Options {
  documents?: number;
  light?: number;
  env?: Record<string, string>;
  cores?: string;
}

/**
 * Starts the servers, and other sides: files of `peers/`, or this server with these variables; each
 * on its own copy of data of so many `documents`. The token is good for all.
 */
export async function contend(
  bench: Bench,
  others: Partial<Record<Side, string | Record<string, string>>>,
  { documents, light, env, cores }: Options = {},
): Promise<{ contenders: Contenders; token: string }> {
  const { data, token } = await makeData(bench, documents, light);
  const contenders: Contenders = {};
  const sides = { ...others, ...bench.mains };
  for (const [name, side] of Object.entries(sides) as [Side, string | Record<string, string>][]) {
    const own = join(bench.folder, name);
    // They come last.
    if (name === "ours") renameSync(data, own);
    else cpSync(data, own, { recursive: true });
    const file =
      name in bench.mains ? String(side) : join(import.meta.dirname, "peers", `${side}.ts`);
    contenders[name] =
      typeof side === "string"
        ? await startServer(file, own, env, cores)
        : await startServer(bench.mains.ours, own, { ...env, ...side }, cores);
  }
  return { contenders, token };
}

/** Medians of the figures that `measure` gives in each round, in which all have their turn. */
export async function inTurn<Name extends string, Key extends string>(
  rounds: number,
  names: readonly Name[],
  measure: (name: Name) => Promise<Record<Key, number>>,
): Promise<Record<Key, Partial<Record<Name, number>>>> {
  const all: [Name, Record<Key, number>][] = [];
  for (let round = 0; round < rounds; round++)
    for (const name of names) all.push([name, await measure(name)]);
  const medianOf = (key: Key, name: Name) =>
    median(all.filter(([side]) => side === name).map(([, figures]) => figures[key]));
  const medians = (key: Key) => names.map((name) => [name, medianOf(key, name)]);
  const keys = Object.keys(all[0]?.[1] ?? {}) as Key[];
  return Object.fromEntries(keys.map((key) => [key, Object.fromEntries(medians(key))])) as Record<
    Key,
    Partial<Record<Name, number>>
  >;
}

export const sidesOf = (sides: object) => Object.keys(sides) as Side[];

const WARM_COUNT = 15_000;

/** CPU time a request in milliseconds, and requests a second, after a warm-up. */
export async function compare(
  contenders: Contenders,
  { rounds, warmSeconds }: Pick<Bench, "rounds" | "warmSeconds">,
  loadOf: (side: Side) => Load,
): Promise<{ cpu: Figures; rate: Figures }> {
  const measure = async (side: Side, warm: Partial<Load> = {}) => {
    const { url, cpu } = contenders[side] as Program;
    let before = 0;
    const onBegin = () => {
      before = cpu();
    };
    const { times, rate } = await drive(url, { ...loadOf(side), ...warm, onBegin });
    return { cpu: (cpu() - before) / times.length, rate };
  };
  for (const side of sidesOf(contenders)) {
    const isTimed = loadOf(side).seconds !== undefined;
    await measure(side, isTimed ? { seconds: warmSeconds, count: WARM_COUNT } : {});
  }
  return inTurn(rounds, sidesOf(contenders), (side) => measure(side));
}

const cells = ({ floor, fastify, against, ours }: Figures, digits: number) =>
  [floor, fastify, ours, ...(against ? [against] : [])]
    .map((side) => side?.toFixed(digits) ?? "-")
    .join(" | ");

type Compared = Awaited<ReturnType<typeof compare>>;

/** The line of CPU time a request, requests a second beside it. */
export function cpuLine(name: string, { cpu, rate }: Compared, aims: Line["aims"] & object): Line {
  return { name, unit: "ms CPU", ...cpu, aims, note: `requests/s ${cells(rate, 0)}` };
}

/** The line of requests a second, where not CPU time decides; that stands beside it. */
export function rateLine(name: string, { cpu, rate }: Compared, aims?: Line["aims"]): Line {
  const line = { name, unit: "requests/s", ...rate, note: `ms CPU ${cells(cpu, 3)}` };
  return aims ? { ...line, aims } : line;
}
