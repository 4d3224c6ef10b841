import { type ChildProcess, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "amqplib";
import { within } from "../../src/errors.ts";

/** Milliseconds. A calm machine needs five seconds. */
const START_TIMEOUT = 120_000;
const END_TIMEOUT = 60_000;

/** A broker of the test's own, that may be stopped, killed and started again with the same data. */
export interface PrivateRabbitMQ {
  readonly url: string;
  readonly port: number;
  /** `configuration` is the text of its `rabbitmq.conf`. */
  start(configuration?: string): Promise<void>;
  /** Ends it in order, as an operator would. */
  stop(): Promise<void>;
  /** Ends it as a power cut would. */
  kill(): Promise<void>;
  /** Ends it and removes its data. */
  dispose(): Promise<void>;
}

/** The broker to test with: `TEST_AMQP_URL`, else the one on this machine, else one started here, else why there is none. */
export async function findRabbitMQ(): Promise<
  { url: string; dispose(): Promise<void> } | { skip: string }
> {
  const given = process.env.TEST_AMQP_URL;
  if (given !== undefined) return { url: given, dispose: async () => {} };
  const local = "amqp://guest:guest@127.0.0.1:5672";
  if (await answers(local)) return { url: local, dispose: async () => {} };
  const server = await createPrivateRabbitMQ();
  if ("skip" in server) return server;
  await server.start();
  return server;
}

/** A broker of the test's own, not started yet, or why there is none. */
export async function createPrivateRabbitMQ(): Promise<PrivateRabbitMQ | { skip: string }> {
  // Debian's command in /usr/sbin changes to the user rabbitmq, who can't write here; the one below /usr/lib does not.
  const server = findProgram("rabbitmq-server", [
    "/usr/lib/rabbitmq/bin",
    "/usr/local/sbin",
    "/opt/homebrew/sbin",
  ]);
  const portMapper = findProgram("epmd", []);
  if (server === undefined || portMapper === undefined) {
    if (process.env.CI) throw new Error("no rabbitmq-server on this machine");
    return { skip: "no rabbitmq-server on this machine" };
  }

  const folder = await mkdtemp(join(tmpdir(), "rabbitmq-"));
  const [port, distributionPort, mapperPort] = await freePorts(3);
  if (port === undefined) throw new Error("no free port");
  const plugins = join(folder, "enabled_plugins");
  await writeFile(plugins, "[].");
  await mkdir(join(folder, "config"));
  const env = {
    ...process.env,
    HOME: folder, // the Erlang cookie
    ERL_EPMD_PORT: String(mapperPort),
    ERL_EPMD_ADDRESS: "127.0.0.1",
    RABBITMQ_NODENAME: `nassaq-test-${port}@localhost`,
    RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
    RABBITMQ_NODE_PORT: String(port),
    RABBITMQ_DIST_PORT: String(distributionPort),
    RABBITMQ_MNESIA_BASE: join(folder, "data"),
    RABBITMQ_LOG_BASE: join(folder, "log"),
    RABBITMQ_PID_FILE: join(folder, "pid"),
    RABBITMQ_ENABLED_PLUGINS_FILE: plugins,
    RABBITMQ_CONF_ENV_FILE: join(folder, "rabbitmq-env.conf"),
    RABBITMQ_CONFIG_FILE: join(folder, "config", "rabbitmq"),
    RABBITMQ_GENERATED_CONFIG_DIR: join(folder, "config"),
  };
  const url = `amqp://guest:guest@127.0.0.1:${port}`;
  let mapper: ChildProcess | undefined;
  let broker: ChildProcess | undefined;

  async function end(signal: NodeJS.Signals): Promise<void> {
    const ending = broker;
    broker = undefined;
    if (ending?.pid === undefined || ending.exitCode !== null || ending.signalCode !== null) return;
    const exited = once(ending, "exit");
    process.kill(-ending.pid, signal); // the script and the virtual machine that it started
    await within(exited, END_TIMEOUT, "rabbitmq-server did not end");
    const deadline = Date.now() + END_TIMEOUT;
    while (await answers(url)) {
      if (Date.now() > deadline) throw new Error("rabbitmq-server still answers");
      await sleep(50);
    }
  }

  const handle: PrivateRabbitMQ = {
    url,
    port,
    async start(configuration = "") {
      await writeFile(join(folder, "config", "rabbitmq.conf"), configuration);
      mapper ??= spawn(portMapper, ["-port", String(mapperPort), "-address", "127.0.0.1"], {
        stdio: "ignore",
      });
      const starting = spawn(server, [], { env, cwd: folder, stdio: "ignore", detached: true });
      broker = starting;
      const deadline = Date.now() + START_TIMEOUT;
      while (!(await answers(url))) {
        if (starting.exitCode !== null)
          throw new Error(`rabbitmq-server ended with ${starting.exitCode}`);
        if (Date.now() > deadline) throw new Error("rabbitmq-server did not start in time");
        await sleep(200);
      }
    },
    stop: () => end("SIGTERM"),
    kill: () => end("SIGKILL"),
    async dispose() {
      await end("SIGKILL");
      mapper?.kill();
      await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    },
  };
  return handle;
}

async function answers(url: string): Promise<boolean> {
  try {
    const connection = await connect(url, { timeout: 5_000 });
    connection.on("error", () => {});
    await connection.close();
    return true;
  } catch {
    return false;
  }
}

function findProgram(name: string, first: string[]): string | undefined {
  const folders = [...first, ...(process.env.PATH ?? "").split(delimiter)];
  return folders.map((folder) => join(folder, name)).find((file) => existsSync(file));
}

/**
 * Ports below those that the system gives to clients: while the broker is down no client's socket
 * can take its port, not even one that tries to reach it.
 */
async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const server = createServer().listen(randomInt(10_000, 30_000), "127.0.0.1");
    const free = await once(server, "listening").then(
      () => true,
      () => false,
    );
    if (!free) continue;
    ports.add((server.address() as AddressInfo).port);
    await once(server.close(), "close");
  }
  return [...ports];
}
