import { isIP } from "node:net";
import { resolve } from "node:path";
import * as v from "valibot";
import { email, password } from "./domain/credentials.ts";
import { LOG_LEVELS } from "./log.ts";

export type Env = NodeJS.ProcessEnv;

/**
 * A schema with one message, which does not repeat what was received. What `parse` throws on, or
 * has no output for, is refused.
 */
function parsed<Output>(description: string, parse: (text: string) => Output | undefined) {
  const attempt = (text: string) => {
    try {
      return parse(text);
    } catch {
      return undefined;
    }
  };
  const isOutput = (output: unknown) => output !== undefined;
  const output = v.custom<Output>(isOutput, `must be ${description}`);
  return v.pipe(v.string(), v.transform(attempt), output);
}

const matching = (description: string, pattern: RegExp) =>
  parsed(description, (text) => (pattern.test(text) ? text : undefined));

const integer = (min: number, max: number) =>
  parsed(`a whole number from ${min} to ${max}`, (text) => {
    const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    return number >= min && number <= max ? number : undefined;
  });

const oneOf = <const Option extends string>(...options: readonly Option[]) =>
  parsed(`one of ${options.join(", ")}`, (text) => options.find((option) => option === text));

const yesOrNo = parsed("yes or no", (text) => {
  if (/^(yes|true|1)$/i.test(text)) return true;
  return /^(no|false|0)$/i.test(text) ? false : undefined;
});

const notBlank = matching("more than white space", /\S/);

const isHost = (name: string) =>
  isIP(name) !== 0 || /^(?=.{1,253}$)[a-z0-9_]([a-z0-9._-]*[a-z0-9_.])?$/i.test(name);
const HOST = "a host name or an IP address";
const host = parsed(HOST, (name) => (isHost(name) ? name : undefined));

const embeddedOr = <Output>(description: string, parse: (text: string) => Output | undefined) =>
  parsed(`\`embedded\` or ${description}`, (text) =>
    text === "embedded" ? { kind: "embedded" as const } : parse(text),
  );

const mongoHost = embeddedOr(`${HOST}, without port`, (value) =>
  isHost(value) ? { kind: "mongo" as const, host: value } : undefined,
);

const sqlServer = embeddedOr("`host`, `host,port` or `host\\instance`", (value) => {
  // The portal of Azure SQL shows its servers as `tcp:host,1433`.
  const [, server = "", instance, digits] =
    /^(?:tcp:)?([^,\\]+)(?:\\([\w$#]{1,16})|, ?(\d{1,5}))?$/i.exec(value) ?? [];
  const port = digits === undefined ? undefined : Number(digits);
  if (!isHost(server) || port === 0 || (port ?? 0) > 65535) return undefined;
  return { kind: "sqlserver" as const, server, instance, port };
});

const broker = embeddedOr(
  "amqp://…, amqps://… or Endpoint=sb://…;SharedAccessKeyName=…;SharedAccessKey=…",
  (value) => {
    const parts = [/(^|;)Endpoint=sb:\/\/[^;/]/i, /;SharedAccessKeyName=./i, /;SharedAccessKey=./i];
    if (parts.every((part) => part.test(value)))
      return { kind: "service-bus" as const, connectionString: value };
    const { protocol, hostname, username, password: secret, pathname } = new URL(value);
    for (const part of [username, secret, pathname]) decodeURIComponent(part);
    const isAmqp = /^amqps?:$/.test(protocol) && hostname !== "";
    return isAmqp ? { kind: "rabbitmq" as const, url: value } : undefined;
  },
);

const splitList = (value: string) => value.split(",").flatMap((item) => item.trim() || []);

/** Origins as browsers send them (RFC 6454 §6.2). */
const origins = parsed(
  "a JSON array or a comma list of origins such as https://example.com:8443, without path or *",
  (value) => {
    const isJson = value.trimStart().startsWith("[");
    const listed = isJson ? v.parse(v.array(v.string()), JSON.parse(value)) : splitList(value);
    if (!listed.every((item) => /^https?:\/\/[^/\\?#@*\s]+$/i.test(item))) return undefined;
    return [...new Set(listed.map((item) => new URL(item).origin))];
  },
);

/** A rule that registration has too. */
const registered = (description: string, schema: v.GenericSchema<string, string>) =>
  parsed(description, (text) => v.parse(schema, text));

const inProduction = (env: Env) => env.ENVIRONMENT === "production";
const embedded = (env: Env) => (inProduction(env) ? undefined : "embedded");
const DEV_ORIGINS = "http://localhost:8080,http://127.0.0.1:8080";

export interface Variable {
  schema: v.GenericSchema<string, unknown>;
  /** The text of an unset or empty variable; without one the variable is not required. */
  default?: string | ((env: Env) => string | undefined);
  secret?: true;
}

/** Every variable that the server reads. `.env.example` explains each. */
export const VARIABLES = {
  ENVIRONMENT: { schema: oneOf("dev", "test", "production"), default: "dev" },
  HOST: { schema: host, default: (env) => (inProduction(env) ? "0.0.0.0" : "127.0.0.1") },
  PORT: { schema: integer(0, 65_535), default: "8000" },
  DATA_DIR: {
    schema: v.pipe(
      notBlank,
      v.transform((path) => resolve(path)),
    ),
    default: "./data",
  },
  LOG_LEVEL: { schema: oneOf(...LOG_LEVELS), default: "info" },
  WEB_CONCURRENCY: { schema: integer(1, 256), default: "1" },
  SHUTDOWN_TIMEOUT: { schema: integer(0, 3600), default: "15" },
  TRUST_PROXY: { schema: yesOrNo, default: "no" },
  METRICS_PORT: { schema: integer(0, 65_535) },
  METRICS_HOST: { schema: host, default: "127.0.0.1" },
  CORS_ORIGINS: { schema: origins, default: (env) => (inProduction(env) ? "[]" : DEV_ORIGINS) },
  MAX_CONNECTIONS: { schema: integer(1, 1_000_000), default: "2000" },
  MAX_UPLOAD_SIZE_MB: { schema: integer(1, 102_400), default: "50" },
  MIN_FREE_MB: { schema: integer(0, 1_048_576), default: "256" },

  SQL_SERVER: { schema: sqlServer, default: embedded },
  SQL_PORT: { schema: integer(1, 65_535), default: "1433" },
  SQL_DB_NAME: { schema: notBlank },
  SQL_USER: { schema: notBlank },
  SQL_PASS: { schema: v.string(), secret: true },
  SQL_ENCRYPT: { schema: yesOrNo, default: "yes" },
  SQL_TRUST_SERVER_CERTIFICATE: { schema: yesOrNo, default: "yes" },
  SQL_CONNECT_TIMEOUT: { schema: integer(1, 600), default: "60" },
  SQL_POOL_MAX: { schema: integer(1, 1000), default: "10" },
  SQL_POOL_RECYCLE: { schema: integer(1, 604_800), default: "1800" },
  // The longest wait is 5 to the power of 5 seconds: 52 minutes.
  SQL_MAX_RETRIES: { schema: integer(0, 5), default: "3" },
  SQL_RETRY_DELAY_BASE: { schema: integer(0, 5), default: "2" },
  MIGRATE_ON_START: { schema: yesOrNo, default: "yes" },

  MONGO_HOST: { schema: mongoHost, default: embedded },
  MONGO_PORT: { schema: integer(1, 65_535), default: "10260" },
  MONGO_USER: { schema: notBlank },
  MONGO_PASS: { schema: v.string(), secret: true },
  MONGO_DB_NAME: {
    schema: matching("a MongoDB database name", /^[^/\\. "$*<>:|?]{1,63}$/),
    default: "sdmsdb",
  },
  MONGO_TLS: { schema: yesOrNo, default: "yes" },
  MONGO_TLS_INSECURE: { schema: yesOrNo, default: "yes" },

  BLOB_STORAGE_TYPE: {
    schema: oneOf("azure", "local"),
    default: (env) => (inProduction(env) || env.BLOB_CONNECTION_STR ? "azure" : "local"),
  },
  BLOB_CONNECTION_STR: {
    schema: matching(
      "a connection string of Azure Storage",
      /(^|;)\s*(AccountKey|SharedAccessSignature|UseDevelopmentStorage)=./i,
    ),
    secret: true,
  },
  BLOB_STORAGE_CONTAINER_NAME: {
    schema: matching(
      "3 to 63 lower-case letters, digits and single hyphens",
      /^(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*$/,
    ),
  },

  MESSAGE_BROKER_URL: { schema: broker, default: embedded, secret: true },
  PROCESSING_BACKEND: { schema: oneOf("ocr_api", "ai_foundry"), default: "ocr_api" },
  OCR_QUEUE_NAME: {
    // What RabbitMQ and Service Bus take, with room for `.failed`.
    schema: matching(
      "1 to 100 letters, digits, `.`, `_` or `-`, not starting with `amq.`",
      /^(?!amq\.)[a-z0-9_]([a-z0-9._-]{0,98}[a-z0-9_])?$/i,
    ),
    default: (env) => (env.PROCESSING_BACKEND === "ai_foundry" ? "ai_foundry_queue" : "ocr_queue"),
  },
  EMBEDDED_WORKER: {
    schema: yesOrNo,
    default: (env) => ((env.MESSAGE_BROKER_URL || embedded(env)) === "embedded" ? "yes" : "no"),
  },

  ACCESS_TOKEN_EXPIRE_MINUTES: { schema: integer(1, 43_200), default: "1" },
  REFRESH_TOKEN_EXPIRE_DAYS: { schema: integer(1, 3650), default: "7" },
  JWT_ALGORITHM: { schema: oneOf("HS256"), default: "HS256" },
  JWT_SECRET_KEY: { schema: notBlank, secret: true },
  JWT_SECRET_KEY_PREVIOUS: { schema: parsed("a comma list", splitList), default: "", secret: true },
  AUDIT_KEY: {
    schema: v.pipe(v.string(), v.minBytes(32, "must be at least 32 bytes long")),
    secret: true,
  },
  AUTH_RATE_PER_ADDRESS: { schema: integer(0, 1_000_000), default: "30" },
  AUTH_RATE_PER_ACCOUNT: { schema: integer(0, 1_000_000), default: "10" },

  BOOTSTRAP_ADMIN_EMAIL: {
    schema: registered("an ASCII e-mail address of at most 50 characters", email),
  },
  BOOTSTRAP_ADMIN_PASSWORD: {
    schema: registered(
      "8 to 64 characters (72 bytes in UTF-8), one a digit and one neither letter nor digit",
      password,
    ),
    secret: true,
  },
} as const satisfies Record<string, Variable>;
