import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Broker } from "./broker/broker.ts";
import { EmbeddedBroker } from "./broker/embedded.ts";
import { type Config, ConfigError } from "./config.ts";
import type { ContentStore } from "./content/content-store.ts";
import { EmbeddedContentStore } from "./content/embedded.ts";
import type { Database } from "./data/database.ts";
import type { Logger } from "./log.ts";
import { readOrMakeSecret } from "./security/secret-file.ts";
import type { OnStop } from "./stopping.ts";
import { LocalFolderStorage } from "./storage/local-folder.ts";
import type { Storage } from "./storage/storage.ts";

/** One implementation of each port. */
export interface Parts {
  readonly database: Database;
  readonly storage: Storage;
  readonly content: ContentStore;
  readonly broker: Broker;
}

/** In DATA_DIR. */
const DATABASE = "nassaq.db";
const BLOBS = "blobs";

// Adapters with a driver are imported when asked for; SQLite's is Node's own, of new ones only.

/** How parts are opened. */
export interface Opening {
  /** Replaces the embedded database's. */
  databaseFile?: string | undefined;
  /** Nothing is made or written. */
  readOnly?: boolean;
  /** Nothing is made or migrated. */
  hasRun?: boolean;
}

async function openEmbedded(config: Config, { databaseFile, readOnly = false }: Opening) {
  const { openSqlite } = await import("./data/sqlite.ts");
  return openSqlite({ file: databaseFile ?? join(config.DATA_DIR, DATABASE), readOnly });
}

/** Not migrated. */
export async function openDatabase(config: Config, log: Logger, opening: Opening = {}) {
  const sql = config.SQL_SERVER;
  if (sql.kind === "embedded") return openEmbedded(config, opening);
  const { openSqlServer } = await import("./data/sqlserver.ts");
  return openSqlServer({
    ...sql,
    port: sql.port ?? config.SQL_PORT,
    name: config.SQL_DB_NAME ?? "",
    user: config.SQL_USER ?? "",
    password: config.SQL_PASS ?? "",
    encrypt: config.SQL_ENCRYPT,
    trustServerCertificate: config.SQL_TRUST_SERVER_CERTIFICATE,
    connectTimeoutSeconds: config.SQL_CONNECT_TIMEOUT,
    poolMax: config.SQL_POOL_MAX,
    poolRecycleSeconds: config.SQL_POOL_RECYCLE,
    maxRetries: config.SQL_MAX_RETRIES,
    retryDelayBase: config.SQL_RETRY_DELAY_BASE,
    log,
  });
}

/** Migrates the database; throws when it is behind, with MIGRATE_ON_START=no or `onlyCheck`. */
export async function prepareSchema(config: Config, database: Database, onlyCheck = false) {
  if (config.MIGRATE_ON_START && !onlyCheck) await database.migrate();
  const pending = await database.pendingMigrations();
  if (pending.length === 0) return;
  const advice = "Run `npm run migrate`, or set MIGRATE_ON_START=yes.";
  throw new Error(`The database lacks migrations: ${pending.join(", ")}. ${advice}`);
}

type Secrets = [string, ...string[]];

/** The first one signs. */
export function jwtSecrets(config: Config): Secrets {
  const secret = config.JWT_SECRET_KEY ?? readOrMakeSecret(config.DATA_DIR);
  return [secret, ...config.JWT_SECRET_KEY_PREVIOUS];
}

/** What opens the audit trail's keys; the first one keeps them. */
export function auditSecrets(config: Config): Secrets {
  const secrets = jwtSecrets(config);
  return config.AUDIT_KEY === undefined ? secrets : [config.AUDIT_KEY, ...secrets];
}

async function openStorage(config: Config, readOnly = false): Promise<Storage> {
  const { BLOB_CONNECTION_STR = "", BLOB_STORAGE_CONTAINER_NAME: container = "" } = config;
  if (config.BLOB_STORAGE_TYPE === "local")
    return LocalFolderStorage.open({ folder: join(config.DATA_DIR, BLOBS), readOnly });
  const { AzureBlobStorage } = await import("./storage/azure-blob.ts");
  try {
    return new AzureBlobStorage({ connectionString: BLOB_CONNECTION_STR, container });
  } catch {
    // Only the SDK can tell, and its error could repeat the key.
    throw new ConfigError("BLOB_CONNECTION_STR is not one that the Azure SDK takes.");
  }
}

async function openContent(config: Config, embedded: () => Promise<Database>, log: Logger) {
  const mongo = config.MONGO_HOST;
  if (mongo.kind === "embedded") return new EmbeddedContentStore(await embedded());
  const { MongoContentStore, mongoConnectionString } = await import("./content/mongo.ts");
  const url = mongoConnectionString({
    host: mongo.host,
    port: config.MONGO_PORT,
    user: config.MONGO_USER ?? "",
    password: config.MONGO_PASS ?? "",
    tls: config.MONGO_TLS,
    tlsInsecure: config.MONGO_TLS_INSECURE,
  });
  return new MongoContentStore({ url, database: config.MONGO_DB_NAME, log });
}

async function openBroker(config: Config, embedded: () => Promise<Database>, log: Logger) {
  const { MESSAGE_BROKER_URL: broker, OCR_QUEUE_NAME: queue } = config;
  const isServers = config.SQL_SERVER.kind === "embedded";
  if (broker.kind === "embedded")
    return new EmbeddedBroker({ database: await embedded(), log, isServers });
  if (broker.kind === "rabbitmq") {
    const { RabbitMQBroker } = await import("./broker/rabbitmq.ts");
    return new RabbitMQBroker({ url: broker.url, queue, log });
  }
  const { AzureServiceBusBroker } = await import("./broker/service-bus.ts");
  return new AzureServiceBusBroker({ connectionString: broker.connectionString });
}

/**
 * Opens all parts, the schema up to date. Those of a server that `hasRun` are not connected, and
 * none is made: a folder without them, which may be the wrong one, is a ConfigError.
 */
export async function openParts(
  config: Config,
  log: Logger,
  onStop: OnStop,
  opening: Opening = {},
): Promise<Parts> {
  if (opening.hasRun) requireData(config);
  const opened = <Part extends { close(): Promise<void> }>(name: string, part: Part) => {
    onStop(name, () => part.close(), name.endsWith("database") ? "databases" : "parts");
    return part;
  };
  const database = opened("database", await openDatabase(config, log, opening));
  await prepareSchema(config, database, opening.hasRun);
  // The embedded parts keep their tables in the embedded database, also beside SQL Server.
  let shared = config.SQL_SERVER.kind === "embedded" ? database : undefined;
  const embedded = async (): Promise<Database> => {
    shared ??= opened("embedded database", await openEmbedded(config, opening));
    return shared;
  };
  const storage = opened("storage", await openStorage(config, opening.readOnly));
  const content = opened("content", await openContent(config, embedded, log));
  const broker = opened("broker", await openBroker(config, embedded, log));
  if (!opening.hasRun) await Promise.all([broker.connect(), content.connect()]);
  return { database, storage, broker, content };
}

function requireData(config: Config) {
  const inDatabase = [config.SQL_SERVER, config.MONGO_HOST, config.MESSAGE_BROKER_URL];
  const require = (name: string, isKept: boolean) => {
    if (isKept && !existsSync(join(config.DATA_DIR, name)))
      throw new ConfigError(`DATA_DIR (${config.DATA_DIR}) has no ${name}.`);
  };
  require(DATABASE, inDatabase.some(({ kind }) => kind === "embedded"));
  require(BLOBS, config.BLOB_STORAGE_TYPE === "local");
}
