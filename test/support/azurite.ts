import { type ChildProcess, spawn } from "node:child_process";
import dns from "node:dns";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** The emulator's account, published by its vendor: learn.microsoft.com, "Use the Azurite emulator". */
export const ACCOUNT = "devstoreaccount1";
export const ACCOUNT_KEY =
  "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/**
 * A private Azurite. Its port and data stay the same from `stop` to `start`; `close` ends it and removes the data. Killed, as `stop`
 * does by default, it forgets the last seconds' blobs and containers; `SIGTERM` lets it save them.
 */
export interface Azurite {
  readonly port: number;
  readonly connectionString: string;
  stop(signal?: NodeJS.Signals): Promise<void>;
  start(): Promise<void>;
  close(): Promise<void>;
}

/** The connection string of the emulator's account at `port` of this machine. */
export function connectionStringFor(port: number): string {
  return connectionString(ACCOUNT, `http://127.0.0.1:${port}/${ACCOUNT}`);
}

/**
 * Starts Azurite's blob service, the npm package, on a free port of 127.0.0.1 with its data in a temporary folder. Its URLs are
 * path-style, `http://127.0.0.1:port/account/container/key`. With a `host` they are host-style, as the platform's workers need them:
 * `http://host:port/container/key`, where the host's first label is the account; this process finds that host without DNS.
 */
export async function startAzurite({ host }: { host?: string } = {}): Promise<Azurite> {
  const folder = await mkdtemp(join(tmpdir(), "azurite-"));
  const script = join(
    createRequire(import.meta.url).resolve("azurite/package.json"),
    "../dist/src/blob/main.js",
  );
  const account = host?.split(".")[0] ?? ACCOUNT;
  const env = { ...process.env, AZURITE_ACCOUNTS: `${account}:${ACCOUNT_KEY}` };
  if (host !== undefined) findAtLoopback(host);
  let child: ChildProcess | undefined;
  let port = 0;

  const kill = () => child?.kill("SIGKILL");
  const start = async () => {
    const flags = ["--silent", "--skipApiVersionCheck", "--disableTelemetry"];
    const where = ["--blobHost", "127.0.0.1", "--blobPort", String(port), "--location", folder];
    const started = spawn(process.execPath, [script, ...flags, ...where], {
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    child = started;
    process.once("exit", kill);
    port = await portOf(started);
  };
  const stop = async (signal: NodeJS.Signals = "SIGKILL") => {
    process.off("exit", kill);
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
  };

  await start();
  return {
    port,
    connectionString:
      host === undefined
        ? connectionStringFor(port)
        : connectionString(account, `http://${host}:${port}`),
    start,
    stop,
    async close() {
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function connectionString(account: string, endpoint: string): string {
  return (
    `DefaultEndpointsProtocol=http;AccountName=${account};AccountKey=${ACCOUNT_KEY};` +
    `BlobEndpoint=${endpoint};`
  );
}

const atLoopback = new Set<string>();
const { lookup } = dns;

/** Makes this process find `host` at 127.0.0.1, on any machine: no name of a test's own is known to a resolver. */
function findAtLoopback(host: string): void {
  atLoopback.add(host);
  dns.lookup = ((name: string, ...others: unknown[]) =>
    Reflect.apply(lookup, dns, [
      atLoopback.has(name) ? "127.0.0.1" : name,
      ...others,
    ])) as typeof lookup;
}

/** Waits for the line that tells the port; fails with what the process printed when it ends instead. */
async function portOf(child: ChildProcess): Promise<number> {
  if (!child.stdout || !child.stderr) throw new Error("Azurite was started without pipes");
  const printed: string[] = [];
  child.stderr.on("data", (data: Buffer) => printed.push(data.toString()));
  const lines = createInterface({ input: child.stdout });
  for await (const line of lines) {
    printed.push(line);
    const port = /listens on http:\/\/127\.0\.0\.1:(\d+)/.exec(line)?.[1];
    if (port !== undefined) {
      child.stdout.resume();
      return Number(port);
    }
  }
  throw new Error(`Azurite did not start: ${printed.join("\n")}`);
}
