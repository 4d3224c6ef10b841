import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { parseEnv } from "node:util";
import fc from "fast-check";
import { ConfigError, describeConfig, loadConfig, loadEnvFile } from "../src/config.ts";
import { VARIABLES } from "../src/config-variables.ts";

const NAMES = Object.keys(VARIABLES) as (keyof typeof VARIABLES)[];
type Env = Record<string, string>;

const SERVICE_BUS =
  "Endpoint=sb://my-space.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey=a+b/c=";
const AZURE =
  "DefaultEndpointsProtocol=https;AccountName=store;AccountKey=a2V5;EndpointSuffix=core.windows.net";
const SQL = {
  SQL_SERVER: "sql.example.com",
  SQL_DB_NAME: "docs",
  SQL_USER: "app",
  SQL_PASS: "p;'=ä%@",
};
const MONGO = { MONGO_HOST: "mongo.example.com", MONGO_USER: "u", MONGO_PASS: "p@/:" };
const BLOB = { BLOB_CONNECTION_STR: AZURE, BLOB_STORAGE_CONTAINER_NAME: "documents" };
const PRODUCTION = {
  ENVIRONMENT: "production",
  ...SQL,
  ...MONGO,
  ...BLOB,
  MESSAGE_BROKER_URL: "amqps://user:pass@queue.example.com/",
  JWT_SECRET_KEY: "0123456789abcdef0123456789abcdef",
};

/** The variables that the one ConfigError names, a line each. */
function faultsOf(env: Env): string[] {
  try {
    loadConfig(env);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    const lines = error.message.split("\n").slice(1);
    return lines.map((line) => /^ {2}([A-Z_]+) \S/.exec(line)?.[1] ?? assert.fail(line));
  }
  return [];
}

test("an empty environment is a complete development configuration with embedded parts", () => {
  assert.deepEqual(loadConfig({}), {
    ENVIRONMENT: "dev",
    HOST: "127.0.0.1",
    PORT: 8000,
    DATA_DIR: resolve("data"),
    LOG_LEVEL: "info",
    WEB_CONCURRENCY: 1,
    SHUTDOWN_TIMEOUT: 15,
    TRUST_PROXY: false,
    METRICS_HOST: "127.0.0.1",
    CORS_ORIGINS: ["http://localhost:8080", "http://127.0.0.1:8080"],
    MAX_CONNECTIONS: 2000,
    MAX_UPLOAD_SIZE_MB: 50,
    MIN_FREE_MB: 256,
    SQL_SERVER: { kind: "embedded" },
    SQL_PORT: 1433,
    SQL_ENCRYPT: true,
    SQL_TRUST_SERVER_CERTIFICATE: true,
    SQL_CONNECT_TIMEOUT: 60,
    SQL_POOL_MAX: 10,
    SQL_POOL_RECYCLE: 1800,
    SQL_MAX_RETRIES: 3,
    SQL_RETRY_DELAY_BASE: 2,
    MIGRATE_ON_START: true,
    MONGO_HOST: { kind: "embedded" },
    MONGO_PORT: 10260,
    MONGO_DB_NAME: "sdmsdb",
    MONGO_TLS: true,
    MONGO_TLS_INSECURE: true,
    BLOB_STORAGE_TYPE: "local",
    MESSAGE_BROKER_URL: { kind: "embedded" },
    PROCESSING_BACKEND: "ocr_api",
    OCR_QUEUE_NAME: "ocr_queue",
    EMBEDDED_WORKER: true,
    ACCESS_TOKEN_EXPIRE_MINUTES: 1,
    REFRESH_TOKEN_EXPIRE_DAYS: 7,
    JWT_ALGORITHM: "HS256",
    JWT_SECRET_KEY_PREVIOUS: [],
    AUTH_RATE_PER_ADDRESS: 30,
    AUTH_RATE_PER_ACCOUNT: 10,
  });
});

test("production listens on all addresses, allows no origin and uses the parts it names", () => {
  const config = loadConfig(PRODUCTION);
  assert.equal(config.HOST, "0.0.0.0");
  assert.deepEqual(config.CORS_ORIGINS, []);
  const expected = {
    ...PRODUCTION,
    SQL_SERVER: {
      kind: "sqlserver",
      server: "sql.example.com",
      port: undefined,
      instance: undefined,
    },
    MONGO_HOST: { kind: "mongo", host: "mongo.example.com" },
    BLOB_STORAGE_TYPE: "azure",
    MESSAGE_BROKER_URL: { kind: "rabbitmq", url: "amqps://user:pass@queue.example.com/" },
  };
  for (const [name, value] of Object.entries(expected)) {
    assert.deepEqual(config[name as keyof typeof config], value, name);
  }
});

test("production without its parts names every missing variable", () => {
  assert.deepEqual(faultsOf({ ENVIRONMENT: "production" }).sort(), [
    "BLOB_CONNECTION_STR",
    "BLOB_STORAGE_CONTAINER_NAME",
    "JWT_SECRET_KEY",
    "MESSAGE_BROKER_URL",
    "MONGO_HOST",
    "MONGO_PASS",
    "MONGO_USER",
    "SQL_DB_NAME",
    "SQL_PASS",
    "SQL_SERVER",
    "SQL_USER",
  ]);
  for (const name of Object.keys(PRODUCTION).filter((key) => key !== "ENVIRONMENT")) {
    const faults = faultsOf({ ...PRODUCTION, [name]: "" });
    assert.ok(faults.includes(name), name);
  }
});

test("production runs on the embedded parts when it says so", () => {
  const config = loadConfig({
    ENVIRONMENT: "production",
    SQL_SERVER: "embedded",
    BLOB_STORAGE_TYPE: "local",
    MESSAGE_BROKER_URL: "embedded",
    MONGO_HOST: "embedded",
    JWT_SECRET_KEY: PRODUCTION.JWT_SECRET_KEY,
  });
  const { SQL_SERVER, MONGO_HOST, MESSAGE_BROKER_URL } = config;
  const kinds = [SQL_SERVER.kind, MONGO_HOST.kind, MESSAGE_BROKER_URL.kind];
  assert.deepEqual(kinds, ["embedded", "embedded", "embedded"]);
  assert.equal(config.BLOB_STORAGE_TYPE, "local");
});

test("the example file of the reference system is a valid development configuration", () => {
  const config = loadConfig({
    ENVIRONMENT: "dev",
    SQL_SERVER: "your-server.database.windows.net",
    SQL_DB_NAME: "your-database",
    SQL_USER: "your-username",
    SQL_PASS: "your-password",
    SQL_DRIVER: "ODBC Driver 18 for SQL Server",
    MONGO_USER: "your-mongo-user",
    MONGO_PASS: "your-mongo-password",
    MONGO_HOST: "your-cluster.mongocluster.cosmos.azure.com",
    MONGO_DB_NAME: "sdmsdb",
    BLOB_STORAGE_TYPE: "azure",
    BLOB_CONNECTION_STR:
      "DefaultEndpointsProtocol=https;AccountName=...;AccountKey=...;EndpointSuffix=...",
    BLOB_STORAGE_CONTAINER_NAME: "your-container",
    MESSAGE_BROKER_URL: "amqp://guest:guest@localhost:5672/",
    ACCESS_TOKEN_EXPIRE_MINUTES: "1",
    REFRESH_TOKEN_EXPIRE_DAYS: "7",
    JWT_ALGORITHM: "HS256",
    JWT_SECRET_KEY: "your-secret-key-here",
  });
  assert.equal(config.JWT_SECRET_KEY, "your-secret-key-here");
  assert.equal(config.BLOB_STORAGE_TYPE, "azure");
});

test("an empty variable counts as unset", () => {
  const empty = Object.fromEntries(NAMES.map((name) => [name, ""]));
  assert.deepEqual(loadConfig(empty), loadConfig({}));
});

test("the configuration is frozen to its leaves, and its environment stays as it was", () => {
  const env = Object.freeze({ ...PRODUCTION, CORS_ORIGINS: "https://a.example" });
  const check = (node: unknown): void => {
    if (typeof node !== "object" || node === null) return;
    assert.ok(Object.isFrozen(node));
    Object.values(node).forEach(check);
  };
  check(loadConfig(env));
  check(loadConfig({}));
});

test("numbers are whole, plain and in their range", () => {
  const numbers = NAMES.filter((name) =>
    /^\d+$/.test(String((VARIABLES[name] as { default?: string }).default)),
  );
  assert.equal(numbers.length, 17);
  for (const name of numbers) {
    for (const bad of [
      "8000abc",
      "-1",
      "1e3",
      " ",
      " 5",
      "5 ",
      "1.5",
      "+5",
      "0x10",
      "٣",
      "9".repeat(400),
    ]) {
      assert.deepEqual(faultsOf({ [name]: bad }), [name], `${name}=${bad}`);
    }
  }
  assert.deepEqual(faultsOf({ PORT: "65536" }), ["PORT"]);
  assert.deepEqual(faultsOf({ SQL_PORT: "0" }), ["SQL_PORT"]);
  assert.equal(loadConfig({ PORT: "0" }).PORT, 0);
  assert.equal(loadConfig({ AUTH_RATE_PER_ADDRESS: "0" }).AUTH_RATE_PER_ADDRESS, 0);
  assert.equal(loadConfig({ MIN_FREE_MB: "0" }).MIN_FREE_MB, 0);
  assert.equal(loadConfig({ MAX_UPLOAD_SIZE_MB: "3" }).MAX_UPLOAD_SIZE_MB, 3);
});

test("a retry never waits for more than an hour", () => {
  const { SQL_MAX_RETRIES, SQL_RETRY_DELAY_BASE } = loadConfig({
    SQL_MAX_RETRIES: "5",
    SQL_RETRY_DELAY_BASE: "5",
  });
  assert.ok(SQL_RETRY_DELAY_BASE ** SQL_MAX_RETRIES <= 3600);
  assert.deepEqual(faultsOf({ SQL_MAX_RETRIES: "6" }), ["SQL_MAX_RETRIES"]);
  assert.deepEqual(faultsOf({ SQL_RETRY_DELAY_BASE: "6" }), ["SQL_RETRY_DELAY_BASE"]);
});

test("yes and no have three spellings each, in any case", () => {
  for (const yes of ["yes", "YES", "true", "True", "1"]) {
    assert.equal(loadConfig({ TRUST_PROXY: yes }).TRUST_PROXY, true);
  }
  for (const no of ["no", "No", "false", "FALSE", "0"]) {
    assert.equal(loadConfig({ MIGRATE_ON_START: no }).MIGRATE_ON_START, false);
  }
  for (const bad of ["y", "on", "2", " yes", "null"]) {
    assert.deepEqual(faultsOf({ TRUST_PROXY: bad, MONGO_TLS: bad }), ["TRUST_PROXY", "MONGO_TLS"]);
  }
});

test("choices are exact", () => {
  assert.deepEqual(faultsOf({ ENVIRONMENT: "prod" }), ["ENVIRONMENT"]);
  assert.deepEqual(faultsOf({ LOG_LEVEL: "verbose" }), ["LOG_LEVEL"]);
  assert.deepEqual(faultsOf({ BLOB_STORAGE_TYPE: "s3" }), ["BLOB_STORAGE_TYPE"]);
  for (const algorithm of ["none", "HS512", "RS256", "hs256"]) {
    assert.deepEqual(faultsOf({ JWT_ALGORITHM: algorithm }), ["JWT_ALGORITHM"]);
  }
});

test("SQL_SERVER is a host, with a port or with an instance", () => {
  const read = (SQL_SERVER: string, SQL_PORT = "") => {
    const config = loadConfig({ ...SQL, SQL_SERVER, SQL_PORT });
    const { SQL_SERVER: sql } = config;
    assert.equal(sql.kind, "sqlserver");
    return [sql.server, sql.port ?? config.SQL_PORT, sql.instance];
  };
  assert.deepEqual(read("localhost"), ["localhost", 1433, undefined]);
  assert.deepEqual(read("localhost", "1444"), ["localhost", 1444, undefined]);
  assert.deepEqual(read("10.0.0.5,1500"), ["10.0.0.5", 1500, undefined]);
  assert.deepEqual(read("10.0.0.5, 1500", "1444"), ["10.0.0.5", 1500, undefined]);
  assert.deepEqual(read("tcp:a.database.windows.net,1433"), [
    "a.database.windows.net",
    1433,
    undefined,
  ]);
  assert.deepEqual(read("box\\SQLEXPRESS"), ["box", 1433, "SQLEXPRESS"]);
  assert.deepEqual(read("::1,1500"), ["::1", 1500, undefined]);
  for (const bad of [
    "a b",
    "host,",
    "host,0",
    "host,65536",
    "host,1;x",
    "host\\",
    "\\x",
    "a;b",
    "http://a",
    " ",
  ]) {
    assert.deepEqual(faultsOf({ ...SQL, SQL_SERVER: bad }), ["SQL_SERVER"], bad);
  }
});

test("a server that is named needs its database, user and password", () => {
  assert.deepEqual(faultsOf({ SQL_SERVER: "a" }), ["SQL_DB_NAME", "SQL_USER", "SQL_PASS"]);
  assert.deepEqual(faultsOf({ MONGO_HOST: "a" }), ["MONGO_USER", "MONGO_PASS"]);
  assert.deepEqual(faultsOf({ BLOB_STORAGE_TYPE: "azure" }), [
    "BLOB_CONNECTION_STR",
    "BLOB_STORAGE_CONTAINER_NAME",
  ]);
  assert.deepEqual(faultsOf({ BLOB_CONNECTION_STR: AZURE }), ["BLOB_STORAGE_CONTAINER_NAME"]);
  assert.deepEqual(faultsOf({ SQL_SERVER: "embedded", MONGO_HOST: "embedded" }), []);
});

test("MONGO_HOST is a host alone, MONGO_DB_NAME a name that MongoDB takes", () => {
  for (const bad of ["mongodb://a", "a:27017", "u:p@a", "a/b"]) {
    assert.deepEqual(faultsOf({ ...MONGO, MONGO_HOST: bad }), ["MONGO_HOST"], bad);
  }
  for (const bad of ["a b", "a/b", "a.b", "$x", "x".repeat(64)]) {
    assert.deepEqual(faultsOf({ MONGO_DB_NAME: bad }), ["MONGO_DB_NAME"], bad);
  }
});

test("a connection string makes Azure the storage unless BLOB_STORAGE_TYPE says otherwise", () => {
  assert.equal(loadConfig(BLOB).BLOB_STORAGE_TYPE, "azure");
  assert.equal(loadConfig({ ...BLOB, BLOB_STORAGE_TYPE: "local" }).BLOB_STORAGE_TYPE, "local");
  const emulator = { ...BLOB, BLOB_CONNECTION_STR: "UseDevelopmentStorage=true" };
  assert.equal(loadConfig(emulator).BLOB_STORAGE_TYPE, "azure");
  for (const bad of ["x", "AccountName=a", "https://a.blob.core.windows.net"]) {
    assert.deepEqual(faultsOf({ ...BLOB, BLOB_CONNECTION_STR: bad }), ["BLOB_CONNECTION_STR"], bad);
  }
  for (const bad of ["ab", "Docs", "a--b", "-ab", "ab-", "a_b", "x".repeat(64)]) {
    const env = { ...BLOB, BLOB_STORAGE_CONTAINER_NAME: bad };
    assert.deepEqual(faultsOf(env), ["BLOB_STORAGE_CONTAINER_NAME"], bad);
  }
});

test("MESSAGE_BROKER_URL tells RabbitMQ from Service Bus", () => {
  const kind = (MESSAGE_BROKER_URL: string) =>
    loadConfig({ MESSAGE_BROKER_URL }).MESSAGE_BROKER_URL.kind;
  assert.equal(kind("amqp://guest:guest@localhost:5672/"), "rabbitmq");
  assert.equal(kind("amqps://host/a%2Fb?heartbeat=5"), "rabbitmq");
  assert.equal(kind(SERVICE_BUS), "service-bus");
  assert.equal(kind("embedded"), "embedded");
  const bad = [
    "http://a",
    "amqp://",
    "amqp:a",
    "localhost",
    "amqp://a:%zz@b",
    "amqp://a b",
    "sb://x/",
    "Endpoint=sb://x/",
    "Endpoint=sb://x/;SharedAccessKeyName=a",
    "Endpoint=sb://x/;SharedAccessKeyName=a;SharedAccessKey=",
    "Endpoint=sb://x/;SharedAccessKey=a",
    "Endpoint=https://x/;SharedAccessKeyName=a;SharedAccessKey=b",
  ];
  for (const url of bad) {
    assert.deepEqual(faultsOf({ MESSAGE_BROKER_URL: url }), ["MESSAGE_BROKER_URL"], url);
  }
});

test("PROCESSING_BACKEND chooses the worker and its queue, unless the queue is named", () => {
  const read = (env: Record<string, string>) => {
    const { PROCESSING_BACKEND, OCR_QUEUE_NAME } = loadConfig(env);
    return [PROCESSING_BACKEND, OCR_QUEUE_NAME];
  };
  assert.deepEqual(read({ PROCESSING_BACKEND: "ocr_api" }), ["ocr_api", "ocr_queue"]);
  const cloud = { PROCESSING_BACKEND: "ai_foundry" };
  assert.deepEqual(read(cloud), ["ai_foundry", "ai_foundry_queue"]);
  assert.deepEqual(read({ ...cloud, OCR_QUEUE_NAME: "mine" }), ["ai_foundry", "mine"]);
  assert.deepEqual(faultsOf({ PROCESSING_BACKEND: "both" }), ["PROCESSING_BACKEND"]);
});

test("a server has a worker beside itself when its queue is its own, unless told otherwise", () => {
  const read = (env: Record<string, string>) => loadConfig(env).EMBEDDED_WORKER;
  const rabbitmq = { MESSAGE_BROKER_URL: "amqp://queue.example.com/" };
  const own = { MESSAGE_BROKER_URL: "embedded" };
  assert.deepEqual([read({}), read(own), read(rabbitmq)], [true, true, false]);
  assert.equal(read({ ...PRODUCTION, ...own }), true);
  assert.equal(read(PRODUCTION), false);
  assert.equal(read({ EMBEDDED_WORKER: "no" }), false);
  assert.equal(read({ ...rabbitmq, EMBEDDED_WORKER: "yes" }), true);
  const bus = "Endpoint=sb://x/;SharedAccessKeyName=a;SharedAccessKey=b";
  assert.equal(read({ MESSAGE_BROKER_URL: bus }), false);
  const both = { MESSAGE_BROKER_URL: bus, EMBEDDED_WORKER: "yes" };
  assert.deepEqual(faultsOf(both), ["EMBEDDED_WORKER"]);
});

test("OCR_QUEUE_NAME is a name that every broker takes", () => {
  assert.equal(loadConfig({ OCR_QUEUE_NAME: "ocr.queue-2" }).OCR_QUEUE_NAME, "ocr.queue-2");
  for (const bad of ["a b", "a/b", "amq.x", ".a", "a.", "ö", "x".repeat(101)]) {
    assert.deepEqual(faultsOf({ OCR_QUEUE_NAME: bad }), ["OCR_QUEUE_NAME"], bad);
  }
});

test("CORS_ORIGINS takes a JSON array or a comma list of exact origins, and no wildcard", () => {
  const read = (CORS_ORIGINS: string) => loadConfig({ CORS_ORIGINS }).CORS_ORIGINS;
  assert.deepEqual(read('["https://a.example","http://b.example:81"]'), [
    "https://a.example",
    "http://b.example:81",
  ]);
  assert.deepEqual(read(" https://a.example , https://a.example,"), ["https://a.example"]);
  assert.deepEqual(read("HTTPS://A.Example:443"), ["https://a.example"]);
  assert.deepEqual(read("http://[::1]:8080"), ["http://[::1]:8080"]);
  assert.deepEqual(read("[]"), []);
  const bad = [
    "*",
    "https://*.example",
    "https://a.example/",
    "https://a.example/x",
    "ftp://a",
    "a.example",
  ];
  const worse = [
    "null",
    "https://u:p@a",
    "https://a?x",
    "https://",
    "[1]",
    '["https://a"',
    '{"a":1}',
    "https:\\\\a",
  ];
  for (const text of [...bad, ...worse, "https://a:99999", "https://a, *"]) {
    assert.deepEqual(faultsOf({ CORS_ORIGINS: text }), ["CORS_ORIGINS"], text);
  }
});

test("JWT keys: any that is not blank in development, 32 bytes in production, former ones too", () => {
  assert.equal(loadConfig({ JWT_SECRET_KEY: "short" }).JWT_SECRET_KEY, "short");
  assert.deepEqual(faultsOf({ JWT_SECRET_KEY: "   " }), ["JWT_SECRET_KEY"]);
  assert.deepEqual(faultsOf({ ...PRODUCTION, JWT_SECRET_KEY: "x".repeat(31) }), ["JWT_SECRET_KEY"]);
  assert.deepEqual(faultsOf({ ...PRODUCTION, JWT_SECRET_KEY: "ع".repeat(16) }), []);
  const key = "k".repeat(32);
  const previous = loadConfig({ ...PRODUCTION, JWT_SECRET_KEY_PREVIOUS: `${key}, ${key}2,` });
  assert.deepEqual(previous.JWT_SECRET_KEY_PREVIOUS, [key, `${key}2`]);
  const short = { ...PRODUCTION, JWT_SECRET_KEY_PREVIOUS: `${key},short` };
  assert.deepEqual(faultsOf(short), ["JWT_SECRET_KEY_PREVIOUS"]);
});

test("a first admin has both an address and a password, by the rules of registration", () => {
  const read = (email: string, password: string) => ({
    BOOTSTRAP_ADMIN_EMAIL: email,
    BOOTSTRAP_ADMIN_PASSWORD: password,
  });
  const admin = loadConfig(read("Root@Example.com", "pass word 1"));
  assert.equal(admin.BOOTSTRAP_ADMIN_EMAIL, "root@example.com");
  assert.equal(admin.BOOTSTRAP_ADMIN_PASSWORD, "pass word 1");
  assert.deepEqual(faultsOf(read("a@b.example", "")), ["BOOTSTRAP_ADMIN_PASSWORD"]);
  assert.deepEqual(faultsOf(read("", "pass word 1")), ["BOOTSTRAP_ADMIN_EMAIL"]);
  for (const bad of ["root", "a@b", "ä@example.com", `${"x".repeat(50)}@example.com`]) {
    assert.deepEqual(faultsOf(read(bad, "pass word 1")), ["BOOTSTRAP_ADMIN_EMAIL"], bad);
  }
  const passwords = [
    "short-1",
    "no digit here",
    "alphanumeric1",
    "x-1".repeat(22),
    "ع-1ععع".repeat(8),
  ];
  for (const bad of passwords) {
    assert.deepEqual(faultsOf(read("a@b.example", bad)), ["BOOTSTRAP_ADMIN_PASSWORD"], bad);
  }
});

test("every fault is in the one message, each variable once", () => {
  const faults = faultsOf({
    PORT: "x",
    ENVIRONMENT: "production",
    LOG_LEVEL: "loud",
    SQL_SERVER: "a b",
  });
  assert.equal(new Set(faults).size, faults.length);
  for (const name of ["PORT", "LOG_LEVEL", "SQL_SERVER", "SQL_USER", "JWT_SECRET_KEY"]) {
    assert.ok(faults.includes(name), name);
  }
});

test("no value of a secret is ever in an error message or in the listing", () => {
  const secrets = NAMES.filter((name) => "secret" in VARIABLES[name]);
  assert.deepEqual(secrets, [
    "SQL_PASS",
    "MONGO_PASS",
    "BLOB_CONNECTION_STR",
    "MESSAGE_BROKER_URL",
    "JWT_SECRET_KEY",
    "JWT_SECRET_KEY_PREVIOUS",
    "AUDIT_KEY",
    "BOOTSTRAP_ADMIN_PASSWORD",
  ]);
  const shapes = (secret: string) => [
    secret,
    `amqp://user:${secret}@host:99999/`,
    `Endpoint=sb://x/;SharedAccessKeyName=${secret}`,
    `"${secret}"`,
    `${secret},${secret}`,
  ];
  fc.assert(
    fc.property(
      fc.constantFrom(...NAMES),
      fc.stringMatching(/^[A-Za-z0-9_!#%+=-]{6,20}$/).map((noise) => `SeCrEt${noise}`),
      fc.nat(4),
      fc.constantFrom("dev", "production"),
      (name, secret, shape, environment) => {
        const env = { ENVIRONMENT: environment, PORT: "x", [name]: shapes(secret)[shape] };
        assert.throws(
          () => loadConfig(env),
          (error) =>
            error instanceof ConfigError && !`${error.stack}${error.cause}`.includes(secret),
        );
        const isText = [
          "DATA_DIR",
          "HOST",
          "METRICS_HOST",
          "SQL_SERVER",
          "SQL_DB_NAME",
          "SQL_USER",
        ].includes(name);
        const isName = ["MONGO_HOST", "MONGO_USER", "MONGO_DB_NAME", "OCR_QUEUE_NAME"].includes(
          name,
        );
        if (!isText && !isName) assert.ok(!describeConfig(env).join("\n").includes(secret), name);
      },
    ),
    { numRuns: 1000 },
  );
});

test("the listing shows every variable with its value or default, also when some are at fault", () => {
  const listing = describeConfig({ ...PRODUCTION, PORT: "abc", LOG_LEVEL: "debug" });
  assert.deepEqual(
    listing.map((line) => line.split("=")[0]),
    NAMES,
  );
  for (const line of ["LOG_LEVEL=debug", "PORT=****", "SQL_PASS=****", "HOST=0.0.0.0 (default)"]) {
    assert.ok(listing.includes(line), line);
  }
  assert.ok(listing.includes("BOOTSTRAP_ADMIN_EMAIL= (not set)"));
});

test(".env.example has every variable with its default and a line about it, and no other", async () => {
  const lines = (await readFile(new URL("../.env.example", import.meta.url), "utf8")).split("\n");
  const entries = lines.flatMap((line, index) => {
    const [, name, value] = /^(?:# )?([A-Z][A-Z_]*)=(.*)$/.exec(line) ?? [];
    return name === undefined ? [] : [{ name, value, about: lines[index - 1] ?? "" }];
  });
  assert.deepEqual(entries.map((entry) => entry.name).sort(), [...NAMES].sort());
  const defaults = describeConfig({});
  for (const { name, value, about } of entries) {
    assert.match(about, /^# [A-Za-z0-9].*\.$/, `${name} has no line about it`);
    const expected = value === "" ? `${name}= (not set)` : `${name}=${value} (default)`;
    assert.ok(defaults.includes(expected), `${name}: ${expected}`);
  }
});

test(".env.example as it is gives the development configuration", async () => {
  const text = await readFile(new URL("../.env.example", import.meta.url), "utf8");
  assert.deepEqual(loadConfig(parseEnv(text) as Env), loadConfig({}));
});

test("loadEnvFile: a variable already set wins, a missing file is fine, an unreadable one is a ConfigError", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "config-test-"));
  t.after(() => rm(folder, { recursive: true }));
  t.after(() => {
    delete process.env.CONFIG_TEST_SET;
    delete process.env.CONFIG_TEST_UNSET;
  });
  const file = join(folder, ".env");
  await writeFile(file, 'CONFIG_TEST_SET=file\nCONFIG_TEST_UNSET="a # b"\n');
  process.env.CONFIG_TEST_SET = "process";
  loadEnvFile(file);
  assert.equal(process.env.CONFIG_TEST_SET, "process");
  assert.equal(process.env.CONFIG_TEST_UNSET, "a # b");
  loadEnvFile(join(folder, "missing"));
  await mkdir(join(folder, "folder"));
  assert.throws(() => loadEnvFile(join(folder, "folder")), ConfigError);
});

test("loadEnvFile: a Node older than package.json asks for is a ConfigError", () => {
  for (const node of ["20.20.2", "23.11.1"])
    assert.throws(
      () => loadEnvFile("missing", node),
      new ConfigError(`this server needs Node 24 or later; this is ${node}`),
    );
  for (const node of ["24.0.0", "100.0.0"]) loadEnvFile("missing", node);
  const { engines } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  assert.equal(engines.node, ">=24");
});

test("importing the module reads nothing and changes nothing", () => {
  const script =
    "const before = JSON.stringify(process.env); await import('./src/config.ts');" +
    "process.exit(JSON.stringify(process.env) === before ? 0 : 1)";
  const child = spawnSync(
    process.execPath,
    ["--import", "tsx", "--input-type=module", "-e", script],
    {
      env: { ...process.env, PORT: "not a port" },
    },
  );
  assert.equal(child.status, 0, String(child.stderr));
});
