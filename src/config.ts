import { accessSync, constants } from "node:fs";
import { resolve } from "node:path";
import * as v from "valibot";
import {
  type BrokerSettings,
  EMBEDDED,
  type Env,
  VARIABLES,
  type Variable,
} from "./config-variables.ts";

/** What the process runs with: checked, complete, frozen to its leaves. */
export interface Config {
  environment: "dev" | "test" | "production";
  host: string;
  port: number;
  /** Absolute. */
  dataDir: string;
  database: { kind: "embedded" } | SqlServerSettings;
  storage: { kind: "local" } | { kind: "azure"; connectionString: string; container: string };
  broker: BrokerSettings;
  content: { kind: "embedded" } | MongoSettings;
  processingBackend: "ocr_api" | "ai_foundry";
  queueName: string;
  accessTokenMinutes: number;
  refreshTokenDays: number;
  /** Undefined only outside production: the app then makes one and keeps it in `dataDir`. */
  jwtSecret: string | undefined;
  /** Keys that still verify and no longer sign. */
  jwtPreviousSecrets: readonly string[];
  /** Origins as browsers send them (RFC 6454 §6.2). */
  corsOrigins: readonly string[];
  maxUploadBytes: number;
  bootstrapAdmin: { email: string; password: string } | undefined;
  trustProxy: boolean;
  /** Attempts a minute; 0 turns the limit off. */
  authRatePerAddress: number;
  authRatePerAccount: number;
  logLevel: "debug" | "info" | "warn" | "error";
  shutdownTimeoutSeconds: number;
  migrateOnStart: boolean;
}

/** With `instance` set, the port is what the SQL Server Browser says, and `port` has no meaning. */
export interface SqlServerSettings {
  kind: "sqlserver";
  server: string;
  port: number;
  instance: string | undefined;
  name: string;
  user: string;
  password: string;
  encrypt: boolean;
  trustServerCertificate: boolean;
  connectTimeoutSeconds: number;
  poolMax: number;
  poolRecycleSeconds: number;
  maxRetries: number;
  /** The wait before retry n is `retryDelayBase` to the power of n, in seconds. */
  retryDelayBase: number;
}

export interface MongoSettings {
  kind: "mongo";
  host: string;
  port: number;
  user: string;
  password: string;
  database: string;
  tls: boolean;
  tlsInsecure: boolean;
}

/** All that is wrong with the configuration: a line for each variable at fault, and never a value. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

type Name = keyof typeof VARIABLES;
type Entry<N extends Name> = (typeof VARIABLES)[N];
type Output<N extends Name> = v.InferOutput<Entry<N>["schema"]>;
/** A variable with a default always has a value. */
type Settings = {
  [N in Name]: Entry<N> extends { default: unknown } ? Output<N> : Output<N> | undefined;
};

const LONGEST_RETRY_SECONDS = 3600;
const NAMES = Object.keys(VARIABLES) as Name[];
const SCHEMA = v.object(
  Object.fromEntries(
    NAMES.map((name) => [name, v.optional(VARIABLES[name].schema as v.GenericSchema)]),
  ),
);

/** The text of each variable that is set or has a default. An empty variable counts as unset. */
function textOf(name: Name, env: Env): string | undefined {
  const variable: Variable = VARIABLES[name];
  const fallback =
    typeof variable.default === "function" ? variable.default(env) : variable.default;
  return env[name] || fallback;
}

/**
 * Puts the variables of the file `path` into the environment (Node's own syntax); one that is already set wins, a missing
 * file is fine. Throws ConfigError when the file can't be read.
 */
export function loadEnvFile(path: string): void {
  try {
    // loadEnvFile says ENOENT of a file that it may not read, too.
    accessSync(path, constants.R_OK);
    process.loadEnvFile(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT")
      throw new ConfigError(`${path} can't be read (${code ?? "unknown error"}).`);
  }
}

/** Reads and checks every variable. Throws one ConfigError with a line for each that is at fault. */
export function loadConfig(env: Env = process.env): Config {
  const faults = new Map<string, string>();
  const texts = Object.fromEntries(NAMES.map((name) => [name, textOf(name, env)]));
  const { output, issues = [] } = v.safeParse(SCHEMA, texts);
  const settings = output as Settings;
  for (const issue of issues) {
    const name = v.getDotPath(issue) as Name;
    // `docker run --env-file` takes quotes as part of the value; loadEnvFile does not.
    const quoted = /^(["']).*\1$/.test(env[name] ?? "");
    faults.set(name, quoted ? `${issue.message} (its value is wrapped in quotes)` : issue.message);
    // What failed is not looked at again below.
    delete (settings as Partial<Settings>)[name];
  }
  checkTogether(settings, (name, fault) => {
    if (!faults.has(name)) faults.set(name, fault);
  });
  if (faults.size > 0) {
    const lines = NAMES.filter((name) => faults.has(name)).map(
      (name) => `  ${name} ${faults.get(name)}`,
    );
    throw new ConfigError(["The configuration can't be used:", ...lines].join("\n"));
  }
  return deepFreeze(assemble(settings));
}

type Report = (name: Name, fault: string) => void;

/** What no variable shows alone: parts that need company, and production, which names its parts. */
function checkTogether(settings: Partial<Settings>, report: Report): void {
  const production = settings.ENVIRONMENT === "production";
  const demand = (reason: string, ...names: Name[]) => {
    for (const name of names)
      if (settings[name] === undefined) report(name, `is required ${reason}`);
  };
  const inProduction = "in production";
  if (production) {
    demand(
      `${inProduction} (a server, or \`embedded\` to keep the data in DATA_DIR)`,
      "SQL_SERVER",
    );
    demand(
      `${inProduction} (a server, or \`embedded\` to keep the texts in DATA_DIR)`,
      "MONGO_HOST",
    );
    demand(
      `${inProduction} (a broker, or \`embedded\` to keep the queue in DATA_DIR)`,
      "MESSAGE_BROKER_URL",
    );
    demand(inProduction, "JWT_SECRET_KEY");
  }
  const { SQL_SERVER: sql, MONGO_HOST: mongo } = settings;
  if (sql ? sql.kind !== "embedded" : production) {
    demand("for SQL Server", "SQL_DB_NAME", "SQL_USER", "SQL_PASS");
  }
  if (mongo ? mongo !== "embedded" : production) demand("for MongoDB", "MONGO_USER", "MONGO_PASS");
  if (settings.BLOB_STORAGE_TYPE === "azure") {
    demand(
      "for Azure Blob Storage (or say BLOB_STORAGE_TYPE=local)",
      "BLOB_CONNECTION_STR",
      "BLOB_STORAGE_CONTAINER_NAME",
    );
  }
  // RFC 7518 §3.2: a key of at least the hash's size. A key that only verifies lets who guesses it in just the same.
  const isShort = (key: string) => Buffer.byteLength(key) < 32;
  if (production && isShort(settings.JWT_SECRET_KEY ?? "")) {
    report("JWT_SECRET_KEY", "must have at least 32 bytes in production");
  }
  if (production && settings.JWT_SECRET_KEY_PREVIOUS?.some(isShort)) {
    report("JWT_SECRET_KEY_PREVIOUS", "must have at least 32 bytes in each key in production");
  }
  if (
    settings.BOOTSTRAP_ADMIN_EMAIL !== undefined ||
    settings.BOOTSTRAP_ADMIN_PASSWORD !== undefined
  ) {
    demand(
      "beside the other BOOTSTRAP_ADMIN_* variable",
      "BOOTSTRAP_ADMIN_EMAIL",
      "BOOTSTRAP_ADMIN_PASSWORD",
    );
  }
  const { SQL_RETRY_DELAY_BASE: base = 0, SQL_MAX_RETRIES: retries = 0 } = settings;
  if (base ** retries > LONGEST_RETRY_SECONDS) {
    report(
      "SQL_RETRY_DELAY_BASE",
      "to the power of SQL_MAX_RETRIES must not exceed an hour (3600 seconds)",
    );
  }
}

function assemble(settings: Settings): Config {
  // checkTogether saw to it that what a part requires is there.
  const given = (text: string | undefined): string => text ?? "";
  const { SQL_SERVER: sql, MONGO_HOST: mongoHost, BOOTSTRAP_ADMIN_EMAIL: adminEmail } = settings;
  return {
    environment: settings.ENVIRONMENT,
    host: settings.HOST,
    port: settings.PORT,
    dataDir: resolve(settings.DATA_DIR),
    database:
      sql === undefined || sql.kind === "embedded"
        ? EMBEDDED
        : {
            kind: "sqlserver",
            server: sql.server,
            port: sql.port ?? settings.SQL_PORT,
            instance: sql.instance,
            name: given(settings.SQL_DB_NAME),
            user: given(settings.SQL_USER),
            password: given(settings.SQL_PASS),
            encrypt: settings.SQL_ENCRYPT,
            trustServerCertificate: settings.SQL_TRUST_SERVER_CERTIFICATE,
            connectTimeoutSeconds: settings.SQL_CONNECT_TIMEOUT,
            poolMax: settings.SQL_POOL_MAX,
            poolRecycleSeconds: settings.SQL_POOL_RECYCLE,
            maxRetries: settings.SQL_MAX_RETRIES,
            retryDelayBase: settings.SQL_RETRY_DELAY_BASE,
          },
    storage:
      settings.BLOB_STORAGE_TYPE === "local"
        ? { kind: "local" }
        : {
            kind: "azure",
            connectionString: given(settings.BLOB_CONNECTION_STR),
            container: given(settings.BLOB_STORAGE_CONTAINER_NAME),
          },
    broker: settings.MESSAGE_BROKER_URL ?? EMBEDDED,
    content:
      mongoHost === undefined || mongoHost === "embedded"
        ? EMBEDDED
        : {
            kind: "mongo",
            host: mongoHost,
            port: settings.MONGO_PORT,
            user: given(settings.MONGO_USER),
            password: given(settings.MONGO_PASS),
            database: settings.MONGO_DB_NAME,
            tls: settings.MONGO_TLS,
            tlsInsecure: settings.MONGO_TLS_INSECURE,
          },
    processingBackend: settings.PROCESSING_BACKEND,
    queueName: settings.OCR_QUEUE_NAME,
    accessTokenMinutes: settings.ACCESS_TOKEN_EXPIRE_MINUTES,
    refreshTokenDays: settings.REFRESH_TOKEN_EXPIRE_DAYS,
    jwtSecret: settings.JWT_SECRET_KEY,
    jwtPreviousSecrets: settings.JWT_SECRET_KEY_PREVIOUS,
    corsOrigins: settings.CORS_ORIGINS,
    maxUploadBytes: settings.MAX_UPLOAD_SIZE_MB * 1024 * 1024,
    bootstrapAdmin:
      adminEmail === undefined
        ? undefined
        : { email: adminEmail, password: given(settings.BOOTSTRAP_ADMIN_PASSWORD) },
    trustProxy: settings.TRUST_PROXY,
    authRatePerAddress: settings.AUTH_RATE_PER_ADDRESS,
    authRatePerAccount: settings.AUTH_RATE_PER_ACCOUNT,
    logLevel: settings.LOG_LEVEL,
    shutdownTimeoutSeconds: settings.SHUTDOWN_TIMEOUT,
    migrateOnStart: settings.MIGRATE_ON_START,
  };
}

/** Freezes a tree of plain objects and arrays. */
function deepFreeze<Tree>(tree: Tree): Tree {
  if (typeof tree === "object" && tree !== null)
    Object.values(Object.freeze(tree)).forEach(deepFreeze);
  return tree;
}

/**
 * Every variable as `NAME=value`, a line each, with its default where it is unset. Secrets show as `****`, and so does what
 * is invalid, for it may be a secret in the wrong place. Never throws: it serves to see what is wrong.
 */
export function describeConfig(env: Env = process.env): string[] {
  return NAMES.map((name) => {
    const variable: Variable = VARIABLES[name];
    const text = textOf(name, env);
    if (!text) return `${name}= (not set)`;
    if (variable.secret || !v.is(variable.schema, text)) return `${name}=****`;
    return `${name}=${text}${env[name] ? "" : " (default)"}`;
  });
}
