import { isIP } from "node:net";
import * as v from "valibot";
import { email, password } from "./domain/credentials.ts";
import { LOG_LEVELS } from "./log.ts";

export type Env = NodeJS.ProcessEnv;

/** A schema whose only message is `must be …`, so that no message can repeat what was received. */
function parsed<Output>(description: string, parse: (text: string) => Output | undefined) {
  return v.pipe(
    v.string(),
    v.rawTransform<string, Output>(({ dataset, addIssue, NEVER }) => {
      const output = parse(dataset.value);
      if (output !== undefined) return output;
      addIssue({ message: `must be ${description}` });
      return NEVER;
    }),
  );
}

function matching(description: string, test: (text: string) => boolean) {
  return parsed(description, (text) => (test(text) ? text : undefined));
}

function integer(min: number, max: number) {
  return parsed(`a whole number from ${min} to ${max}`, (text) => {
    const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    return number >= min && number <= max ? number : undefined;
  });
}

function oneOf<const Option extends string>(...options: readonly Option[]) {
  return parsed(`one of ${options.join(", ")}`, (text) =>
    options.find((option) => option === text),
  );
}

const yesOrNo = parsed("yes or no", (text) => {
  if (/^(yes|true|1)$/i.test(text)) return true;
  return /^(no|false|0)$/i.test(text) ? false : undefined;
});

const notBlank = matching("more than white space", (value) => value.trim() !== "");

const isHost = (name: string): boolean =>
  isIP(name) !== 0 || /^(?=.{1,253}$)[a-z0-9_]([a-z0-9._-]*[a-z0-9_.])?$/i.test(name);
const host = matching("a host name or an IP address", isHost);
const mongoHost = matching("a host name or an IP address, without port, or `embedded`", isHost);

export const EMBEDDED = { kind: "embedded" } as const;

const sqlServer = parsed("`host`, `host,port`, `host\\instance` or `embedded`", (value) => {
  if (value === "embedded") return EMBEDDED;
  // The portal of Azure SQL shows its servers as `tcp:host,1433`.
  const [, server = "", instance, digits] =
    /^(?:tcp:)?([^,\\]+)(?:\\([\w$#]{1,16})|, ?(\d{1,5}))?$/i.exec(value) ?? [];
  const port = digits === undefined ? undefined : Number(digits);
  if (!isHost(server) || port === 0 || (port ?? 0) > 65535) return undefined;
  return { kind: "sqlserver" as const, server, instance, port };
});

const broker = parsed(
  "an amqp:// or amqps:// URL (with reserved characters percent-encoded), a connection string " +
    "`Endpoint=sb://…;SharedAccessKeyName=…;SharedAccessKey=…` or `embedded`",
  (value) => {
    if (value === "embedded") return EMBEDDED;
    if (/(^|;)Endpoint=sb:\/\/[^;/]+/i.test(value)) {
      const isComplete =
        /;SharedAccessKeyName=[^;]/i.test(value) && /;SharedAccessKey=[^;]/i.test(value);
      return isComplete ? { kind: "service-bus" as const, connectionString: value } : undefined;
    }
    try {
      const { protocol, hostname, username, password: secret, pathname } = new URL(value);
      for (const part of [username, secret, pathname]) decodeURIComponent(part);
      const isAmqp = /^amqps?:$/.test(protocol) && hostname !== "";
      return isAmqp ? { kind: "rabbitmq" as const, url: value } : undefined;
    } catch {
      return undefined;
    }
  },
);

const mongoDatabase = matching("a MongoDB database name", (value) =>
  /^[^/\\. "$*<>:|?]{1,63}$/.test(value),
);

const azureConnection = matching(
  "a connection string with AccountName and AccountKey, or with BlobEndpoint and " +
    "SharedAccessSignature",
  (value) => {
    const has = (key: string) => new RegExp(`(^|;)\\s*${key}=[^;]`, "i").test(value);
    if (has("UseDevelopmentStorage") || (has("AccountName") && has("AccountKey"))) return true;
    return has("BlobEndpoint") && has("SharedAccessSignature");
  },
);

const container = matching("3 to 63 lower-case letters, digits and single hyphens", (value) =>
  /^(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*$/.test(value),
);

/** What RabbitMQ (which keeps `amq.` for itself) and Service Bus take, with room for `.failed`. */
const queue = matching(
  "1 to 100 letters, digits, `.`, `_` or `-`, not starting with `amq.`",
  (value) => /^(?!amq\.)[a-z0-9_]([a-z0-9._-]{0,98}[a-z0-9_])?$/i.test(value),
);

const splitList = (value: string) =>
  value
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");

const list = parsed("a comma list", splitList);

/** Origins as browsers send them (RFC 6454 §6.2). */
const origins = parsed(
  "a JSON array or a comma list of origins such as https://example.com:8443, without path or *",
  (value) => {
    try {
      const listed = value.trimStart().startsWith("[") ? JSON.parse(value) : splitList(value);
      const exact = v.parse(
        v.array(v.pipe(v.string(), v.regex(/^https?:\/\/[^/\\?#@*\s]+$/i))),
        listed,
      );
      return [...new Set(exact.map((origin) => new URL(origin).origin))];
    } catch {
      return undefined;
    }
  },
);

const adminEmail = parsed("an ASCII e-mail address of at most 50 characters", (value) => {
  const result = v.safeParse(email, value);
  return result.success ? result.output : undefined;
});

const adminPassword = matching(
  "8 to 64 characters (72 bytes in UTF-8) with a digit and a character that is neither letter " +
    "nor digit",
  (value) => v.is(password, value),
);

const inProduction = (env: Env): boolean => env.ENVIRONMENT === "production";
const DEV_ORIGINS = "http://localhost:8080,http://127.0.0.1:8080";

export interface Variable {
  schema: v.GenericSchema<string, unknown>;
  /** The value where the variable is unset or empty, as text; nothing: there is none. */
  default?: string | ((env: Env) => string);
  secret?: true;
}

/** Every variable that the server reads. `.env.example` explains each. */
export const VARIABLES = {
  ENVIRONMENT: { schema: oneOf("dev", "test", "production"), default: "dev" },
  HOST: { schema: host, default: (env) => (inProduction(env) ? "0.0.0.0" : "127.0.0.1") },
  PORT: { schema: integer(0, 65_535), default: "8000" },
  DATA_DIR: { schema: notBlank, default: "./data" },
  LOG_LEVEL: { schema: oneOf(...LOG_LEVELS), default: "info" },
  SHUTDOWN_TIMEOUT: { schema: integer(0, 3600), default: "15" },
  TRUST_PROXY: { schema: yesOrNo, default: "no" },
  CORS_ORIGINS: { schema: origins, default: (env) => (inProduction(env) ? "[]" : DEV_ORIGINS) },
  MAX_UPLOAD_SIZE_MB: { schema: integer(1, 102_400), default: "50" },

  SQL_SERVER: { schema: sqlServer },
  SQL_PORT: { schema: integer(1, 65_535), default: "1433" },
  SQL_DB_NAME: { schema: notBlank },
  SQL_USER: { schema: notBlank },
  SQL_PASS: { schema: v.string(), secret: true },
  SQL_ENCRYPT: { schema: yesOrNo, default: "yes" },
  SQL_TRUST_SERVER_CERTIFICATE: { schema: yesOrNo, default: "yes" },
  SQL_CONNECT_TIMEOUT: { schema: integer(1, 600), default: "60" },
  SQL_POOL_MAX: { schema: integer(1, 1000), default: "10" },
  SQL_POOL_RECYCLE: { schema: integer(1, 604_800), default: "1800" },
  SQL_MAX_RETRIES: { schema: integer(0, 10), default: "3" },
  SQL_RETRY_DELAY_BASE: { schema: integer(0, 60), default: "2" },
  MIGRATE_ON_START: { schema: yesOrNo, default: "yes" },

  MONGO_HOST: { schema: mongoHost },
  MONGO_PORT: { schema: integer(1, 65_535), default: "10260" },
  MONGO_USER: { schema: notBlank },
  MONGO_PASS: { schema: v.string(), secret: true },
  MONGO_DB_NAME: { schema: mongoDatabase, default: "sdmsdb" },
  MONGO_TLS: { schema: yesOrNo, default: "yes" },
  MONGO_TLS_INSECURE: { schema: yesOrNo, default: "yes" },

  BLOB_STORAGE_TYPE: {
    schema: oneOf("azure", "local"),
    default: (env) => (inProduction(env) || env.BLOB_CONNECTION_STR ? "azure" : "local"),
  },
  BLOB_CONNECTION_STR: { schema: azureConnection, secret: true },
  BLOB_STORAGE_CONTAINER_NAME: { schema: container },

  MESSAGE_BROKER_URL: { schema: broker, secret: true },
  PROCESSING_BACKEND: { schema: oneOf("ocr_api", "ai_foundry"), default: "ocr_api" },
  OCR_QUEUE_NAME: {
    schema: queue,
    default: (env) => (env.PROCESSING_BACKEND === "ai_foundry" ? "ai_foundry_queue" : "ocr_queue"),
  },

  ACCESS_TOKEN_EXPIRE_MINUTES: { schema: integer(1, 43_200), default: "1" },
  REFRESH_TOKEN_EXPIRE_DAYS: { schema: integer(1, 3650), default: "7" },
  JWT_ALGORITHM: { schema: oneOf("HS256"), default: "HS256" },
  JWT_SECRET_KEY: { schema: notBlank, secret: true },
  JWT_SECRET_KEY_PREVIOUS: { schema: list, default: "", secret: true },
  AUDIT_KEY: {
    schema: matching("at least 32 bytes long", (key) => Buffer.byteLength(key) >= 32),
    secret: true,
  },
  AUTH_RATE_PER_ADDRESS: { schema: integer(0, 1_000_000), default: "30" },
  AUTH_RATE_PER_ACCOUNT: { schema: integer(0, 1_000_000), default: "10" },

  BOOTSTRAP_ADMIN_EMAIL: { schema: adminEmail },
  BOOTSTRAP_ADMIN_PASSWORD: { schema: adminPassword, secret: true },
} as const satisfies Record<string, Variable>;
