import { type ChildProcess, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { cpus } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { spawnServer } from "../support/server-process.ts";
import { get, openConnection } from "./load.ts";

/** The cores of servers and of the load, as `taskset` takes them. */
const SERVER_CORE = "0";
export const LOAD_CORE = "1";
export const ALL_CORES = `0-${cpus().length - 1}`;
/** Whether this machine can keep servers and load apart. */
export const isPinned = cpus().length > 1 && spawnSync("taskset", ["--version"]).status === 0;

const START_LIMIT = 60_000;
const STOP_LIMIT = 20_000;
/** Clock ticks a second in `/proc`, on every Linux machine of today. */
const TICKS = 100;

/** What still runs, and its end. */
const running = new Map<ChildProcess, Promise<unknown>>();

/** Ends what still runs, at once; resolves when it is gone. */
export async function killAll(): Promise<void> {
  for (const child of running.keys()) child.kill("SIGKILL");
  await Promise.allSettled(running.values());
}

/** A server in a process of its own. */
export interface Program {
  url: string;
  /** From its start to its first answer, in milliseconds. */
  startedIn: number;
  /** CPU time of all its threads and child processes so far, in milliseconds, from `/proc`. */
  cpu(): number;
  /** Resident memory of the process, in MiB. */
  memory(): number;
  stop(): Promise<void>;
}

/** Runs a server that listens on `PORT`, in `folder`; resolves when it answers. */
export async function start(
  file: string,
  folder: string,
  env: Record<string, string>,
  cores = SERVER_CORE,
): Promise<Program> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const began = performance.now();
  const pin = isPinned ? ["taskset", "-c", cores] : [];
  const child = spawnServer(folder, { ...env, PORT: `${port}` }, file, pin);
  const exited = once(child, "exit").finally(() => running.delete(child));
  running.set(child, exited);
  child.stdout?.resume();
  let complaints = "";
  child.stderr?.on("data", (data) => {
    complaints = `${complaints}${data}`.slice(-2_000);
  });
  await answered(url, child).catch((error) => {
    child.kill("SIGKILL");
    throw new Error(`${file} did not start: ${complaints}`, { cause: error });
  });
  const pid = child.pid ?? 0;
  return {
    url,
    startedIn: performance.now() - began,
    cpu: () => (1_000 / TICKS) * ticksOf(pid),
    memory: () =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024,
    async stop() {
      child.kill("SIGTERM");
      const late = setTimeout(() => child.kill("SIGKILL"), STOP_LIMIT);
      await exited;
      clearTimeout(late);
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  return port;
}

/** Resolves at the first answer to `GET /`. */
async function answered(url: string, child: ChildProcess): Promise<void> {
  const deadline = performance.now() + START_LIMIT;
  for (;;) {
    try {
      const connection = await openConnection(url);
      await connection.send(get("/"));
      return connection.close();
    } catch (error) {
      const hasEnded = child.exitCode !== null || child.signalCode !== null;
      if (hasEnded || performance.now() > deadline) throw error;
      await sleep(2);
    }
  }
}

function ticksOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const children = readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, "utf8").split(" ").filter(Boolean),
  );
  const theirs = children.map((child) => ticksOf(Number(child)));
  return theirs.reduce((sum, ticks) => sum + ticks, Number(fields[11]) + Number(fields[12]));
}
