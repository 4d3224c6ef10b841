import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, readFile, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { LogLine } from "./app.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const SOURCE = join(ROOT, "src", "main.ts");

/** A server in a process of its own, as an operator runs it. */
export interface ServerProcess {
  readonly url: string;
  readonly pid: number;
  readonly folder: string;
  readonly lines: LogLine[];
  /** All that it wrote to standard error so far. */
  complaints(): string;
  /** Sends a signal; `exit` tells how it ended. */
  kill(signal: NodeJS.Signals): void;
  readonly exit: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

/** Compiles the server into `folder` as `npm run build` does into `dist`; returns its program. */
export async function compileServer(folder: string): Promise<string> {
  const compiler = createRequire(import.meta.url).resolve("typescript/package.json");
  const { bin } = JSON.parse(await readFile(compiler, "utf8"));
  const options = [
    "-p",
    join(ROOT, "tsconfig.build.json"),
    "--outDir",
    join(folder, "dist"),
    "--sourceMap",
    "false",
  ];
  const child = spawn(process.execPath, [join(dirname(compiler), bin.tsc), ...options], {
    stdio: "inherit",
  });
  assert.deepEqual(await once(child, "exit"), [0, null], "the server does not compile");
  await symlink(join(ROOT, "node_modules"), join(folder, "node_modules"));
  await copyFile(join(ROOT, "package.json"), join(folder, "package.json"));
  return join(folder, "dist", "main.js");
}

/** Runs a program, `src/main.ts` unless told, in `folder`: its working and data folder. Node strips the types itself. `before` is a command that runs node. */
export function spawnServer(
  folder: string,
  env: Record<string, string>,
  main = SOURCE,
  before: readonly string[] = [],
): ChildProcess {
  const [command = "", ...args] = [...before, process.execPath, main];
  const child = spawn(command, args, {
    cwd: folder,
    env: {
      PATH: process.env.PATH,
      ENVIRONMENT: "test",
      HOST: "127.0.0.1",
      PORT: "0",
      DATA_DIR: folder,
      EMBEDDED_WORKER: "no",
      ...env,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  child.once("exit", () => process.off("exit", kill));
  return child;
}

/** Starts it and waits for its `ready` line. */
export async function startServer(
  folder: string,
  env: Record<string, string> = {},
  main = SOURCE,
  before: readonly string[] = [],
): Promise<ServerProcess> {
  const child = spawnServer(folder, env, main, before);
  assert.ok(child.stdout && child.stderr && child.pid !== undefined);
  const exit = once(child, "exit").then(([code, signal]) => ({ code, signal }));
  let complaints = "";
  child.stderr.on("data", (data) => {
    complaints += data;
  });
  const lines: LogLine[] = [];
  const url = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout as NonNullable<typeof child.stdout> }).on(
      "line",
      (text) => {
        const line: LogLine = JSON.parse(text);
        lines.push(line);
        if (line.message === "ready") resolve(String(line.address));
      },
    );
    exit.then(({ code }) =>
      reject(new Error(`The server ended with ${code}: ${complaints}${JSON.stringify(lines)}`)),
    );
  });
  return {
    url,
    pid: child.pid,
    folder,
    lines,
    complaints: () => complaints,
    kill: (signal) => void child.kill(signal),
    exit,
  };
}
