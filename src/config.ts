import { accessSync, constants } from "node:fs";
import { resolve } from "node:path";
import * as v from "valibot";
import { EMBEDDED, type Env, VARIABLES, type Variable } from "./config-variables.ts";

type Name = keyof typeof VARIABLES;
type Entry<N extends Name> = (typeof VARIABLES)[N];
type Output<N extends Name> = v.InferOutput<Entry<N>["schema"]>;
/** The parsed variables by name; one with a default always has a value. */
type Settings = {
  [N in Name]: Entry<N> extends { default: unknown } ? Output<N> : Output<N> | undefined;
};
type Report = (name: Name, fault: string) => void;

type DeepReadonly<T> = T extends object ? { readonly [Key in keyof T]: DeepReadonly<T[Key]> } : T;
/** What the process runs with: checked, complete, frozen to its leaves. */
export type Config = DeepReadonly<ReturnType<typeof assemble>>;

/** All that is wrong with the configuration: a line for each variable at fault, never a value. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

const NAMES = Object.keys(VARIABLES) as Name[];
const LONGEST_RETRY_SECONDS = 3600;
/** RFC 7518 §3.2: a key of at least the hash's size. */
const SHORTEST_KEY_BYTES = 32;

/** The text of a variable that is set or has a default. An empty variable counts as unset. */
function textOf(name: Name, env: Env): string | undefined {
  const { default: fallback }: Variable = VARIABLES[name];
  return env[name] || (typeof fallback === "function" ? fallback(env) : fallback);
}

/**
 * Puts the variables of the file `path` into the environment (Node's own syntax). One that is
 * already set wins, a missing file is fine. Throws ConfigError when the file can't be read.
 */
export function loadEnvFile(path: string): void {
  try {
    // loadEnvFile says ENOENT of a file that it may not read, too.
    accessSync(path, constants.R_OK);
    process.loadEnvFile(path);
  } catch (error) {
    const { code = "unknown error" } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT") throw new ConfigError(`${path} can't be read (${code}).`);
  }
}

/** Reads and checks every variable. Throws one ConfigError with a line for each at fault. */
export function loadConfig(env: Env = process.env): Config {
  const faults = new Map<Name, string>();
  const settings: Partial<Record<Name, unknown>> = {};
  for (const name of NAMES) {
    const text = textOf(name, env);
    if (text === undefined) continue;
    const { success, output, issues } = v.safeParse(
      VARIABLES[name].schema as Variable["schema"],
      text,
    );
    if (success) settings[name] = output;
    else {
      // `docker run --env-file` takes quotes as part of the value; loadEnvFile does not.
      const hint = /^(["']).*\1$/.test(text) ? " (its value is wrapped in quotes)" : "";
      faults.set(name, `${issues[0].message}${hint}`);
    }
  }
  checkTogether(settings as Partial<Settings>, (name, fault) => {
    if (!faults.has(name)) faults.set(name, fault);
  });
  if (faults.size === 0) return deepFreeze(assemble(settings as Settings));
  const lines = NAMES.filter((name) => faults.has(name)).map(
    (name) => `  ${name} ${faults.get(name)}`,
  );
  throw new ConfigError(["The configuration can't be used:", ...lines].join("\n"));
}

/** What no variable shows alone: parts that need company, and production, which names its parts. */
function checkTogether(settings: Partial<Settings>, report: Report): void {
  const production = settings.ENVIRONMENT === "production";
  const { SQL_SERVER: sql, MONGO_HOST: mongo, BLOB_STORAGE_TYPE: blobs } = settings;
  const demand = (when: boolean, reason: string, ...names: Name[]) => {
    for (const name of names) {
      if (when && settings[name] === undefined) report(name, `is required ${reason}`);
    }
  };
  const named = "in production (a server, or `embedded` to keep the data in DATA_DIR)";
  demand(production, named, "SQL_SERVER", "MONGO_HOST", "MESSAGE_BROKER_URL");
  demand(production, "in production", "JWT_SECRET_KEY");
  const hasSql = sql ? sql.kind !== "embedded" : production;
  demand(hasSql, "for SQL Server", "SQL_DB_NAME", "SQL_USER", "SQL_PASS");
  const hasMongo = mongo ? mongo !== "embedded" : production;
  demand(hasMongo, "for MongoDB", "MONGO_USER", "MONGO_PASS");
  const azure = "for Azure Blob Storage (or say BLOB_STORAGE_TYPE=local)";
  demand(blobs === "azure", azure, "BLOB_CONNECTION_STR", "BLOB_STORAGE_CONTAINER_NAME");
  const both = "beside the other BOOTSTRAP_ADMIN_* variable";
  const { BOOTSTRAP_ADMIN_EMAIL: address, BOOTSTRAP_ADMIN_PASSWORD: password } = settings;
  demand(password !== undefined, both, "BOOTSTRAP_ADMIN_EMAIL");
  demand(address !== undefined, both, "BOOTSTRAP_ADMIN_PASSWORD");

  // A key that only verifies lets in whoever guesses it just the same.
  for (const name of ["JWT_SECRET_KEY", "JWT_SECRET_KEY_PREVIOUS"] as const) {
    const keys = [settings[name] ?? []].flat();
    if (production && keys.some((key) => Buffer.byteLength(key) < SHORTEST_KEY_BYTES)) {
      report(name, `must have keys of at least ${SHORTEST_KEY_BYTES} bytes in production`);
    }
  }
  const { SQL_RETRY_DELAY_BASE: base = 0, SQL_MAX_RETRIES: retries = 0 } = settings;
  if (base ** retries > LONGEST_RETRY_SECONDS) {
    report(
      "SQL_RETRY_DELAY_BASE",
      `to the power of SQL_MAX_RETRIES must not exceed an hour (${LONGEST_RETRY_SECONDS} seconds)`,
    );
  }
}

/** The variables as the parts take them: the type of a part's settings is what it is given here. */
function assemble(settings: Settings) {
  // checkTogether saw to it that what a part requires is there.
  const given = (text: string | undefined): string => text ?? "";
  const { SQL_SERVER: sql, MONGO_HOST: mongo, BOOTSTRAP_ADMIN_EMAIL: adminEmail } = settings;
  return {
    environment: settings.ENVIRONMENT,
    host: settings.HOST,
    port: settings.PORT,
    /** Absolute. */
    dataDir: resolve(settings.DATA_DIR),
    database:
      sql?.kind !== "sqlserver"
        ? EMBEDDED
        : {
            ...sql,
            port: sql.port ?? settings.SQL_PORT,
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
        ? { kind: settings.BLOB_STORAGE_TYPE }
        : {
            kind: settings.BLOB_STORAGE_TYPE,
            connectionString: given(settings.BLOB_CONNECTION_STR),
            container: given(settings.BLOB_STORAGE_CONTAINER_NAME),
          },
    broker: settings.MESSAGE_BROKER_URL ?? EMBEDDED,
    content:
      mongo === undefined || mongo === "embedded"
        ? EMBEDDED
        : {
            kind: "mongo" as const,
            host: mongo,
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
    /** Undefined only outside production: the app then makes one and keeps it in `dataDir`. */
    jwtSecret: settings.JWT_SECRET_KEY,
    /** Keys that still verify and no longer sign. */
    jwtPreviousSecrets: settings.JWT_SECRET_KEY_PREVIOUS,
    /** Undefined: the JWT secret keys the audit trail. */
    auditKey: settings.AUDIT_KEY,
    corsOrigins: settings.CORS_ORIGINS,
    maxUploadBytes: settings.MAX_UPLOAD_SIZE_MB * 1024 * 1024,
    bootstrapAdmin:
      adminEmail === undefined
        ? undefined
        : { email: adminEmail, password: given(settings.BOOTSTRAP_ADMIN_PASSWORD) },
    trustProxy: settings.TRUST_PROXY,
    /** Attempts a minute; 0 turns the limit off. */
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
 * Every variable as `NAME=value`, a line each, with its default where it is unset. Secrets show as
 * `****`, and so does what is invalid, for it may be a secret in the wrong place. Never throws.
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
