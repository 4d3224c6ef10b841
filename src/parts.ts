import { join } from "node:path";
import type { Broker } from "./broker/broker.ts";
import { EmbeddedBroker } from "./broker/embedded.ts";
import { type Config, ConfigError } from "./config.ts";
import type { ContentStore } from "./content/content-store.ts";
import { EmbeddedContentStore } from "./content/embedded.ts";
import type { Database } from "./data/database.ts";
import { openSqlite } from "./data/sqlite.ts";
import type { Logger } from "./log.ts";
import { readOrMakeSecret } from "./security/secret-file.ts";
import { LocalFolderStorage } from "./storage/local-folder.ts";
import type { Storage } from "./storage/storage.ts";

/** One implementation of each port. */
export interface Parts {
  readonly database: Database;
  readonly storage: Storage;
  readonly content: ContentStore;
  readonly broker: Broker;
}

/** What is to be closed, the part that was opened last first. */
export type Closers = { part: string; close(): Promise<void> }[];

// Adapters with a driver are imported when asked for: nobody loads a driver that is not used.

function openEmbedded(config: Config, file = join(config.dataDir, "nassaq.db")) {
  return openSqlite({ file });
}

/** The database of the configuration, not migrated. `file` replaces the embedded one's. */
export async function openDatabase(config: Config, log: Logger, file?: string): Promise<Database> {
  if (config.database.kind === "embedded") return openEmbedded(config, file);
  const { openSqlServer } = await import("./data/sqlserver.ts");
  return openSqlServer({ ...config.database, log });
}

/** Migrates the database. With MIGRATE_ON_START=no throws instead when it is behind. */
export async function prepareSchema(config: Config, database: Database, log: Logger) {
  if (config.migrateOnStart) {
    const applied = await database.migrate();
    if (applied.length > 0) log.debug("migrated the database", { applied });
    return;
  }
  const pending = await database.pendingMigrations();
  if (pending.length === 0) return;
  const advice = "Run `npm run migrate`, or set MIGRATE_ON_START=yes.";
  throw new Error(`The database lacks migrations: ${pending.join(", ")}. ${advice}`);
}

/** What opens the audit trail's keys, in the configuration's order; the first one keeps them. */
export function auditSecrets(config: Config): [string, ...string[]] {
  const { auditKey, jwtSecret = readOrMakeSecret(config.dataDir), jwtPreviousSecrets } = config;
  const jwtSecrets: [string, ...string[]] = [jwtSecret, ...jwtPreviousSecrets];
  return auditKey === undefined ? jwtSecrets : [auditKey, ...jwtSecrets];
}

async function openStorage({ storage, dataDir }: Config, log: Logger): Promise<Storage> {
  if (storage.kind === "local") return LocalFolderStorage.open({ folder: join(dataDir, "blobs") });
  const { AzureBlobStorage } = await import("./storage/azure-blob.ts");
  try {
    return await AzureBlobStorage.open({ ...storage, log });
  } catch {
    // Only the SDK can tell, and its error could repeat the key.
    throw new ConfigError("BLOB_CONNECTION_STR is not one that the Azure SDK takes.");
  }
}

async function openContent({ content }: Config, embedded: () => Database, log: Logger) {
  if (content.kind === "embedded") return new EmbeddedContentStore(embedded());
  const { MongoContentStore, mongoConnectionString } = await import("./content/mongo.ts");
  const url = mongoConnectionString(content);
  return new MongoContentStore({ url, database: content.database, log });
}

async function openBroker({ broker, queueName }: Config, embedded: () => Database, log: Logger) {
  if (broker.kind === "embedded") return new EmbeddedBroker({ database: embedded(), log });
  if (broker.kind === "rabbitmq") {
    const { RabbitMQBroker } = await import("./broker/rabbitmq.ts");
    return new RabbitMQBroker({ url: broker.url, queue: queueName, log });
  }
  const { AzureServiceBusBroker } = await import("./broker/service-bus.ts");
  return new AzureServiceBusBroker({ connectionString: broker.connectionString, log });
}

/** Opens the parts that the configuration names, and migrates the database. */
export async function openParts(
  config: Config,
  log: Logger,
  closers: Closers,
  databaseFile?: string,
): Promise<Parts> {
  const opened = <Part extends { close(): Promise<void> }>(name: string, part: Part): Part => {
    closers.unshift({ part: name, close: () => part.close() });
    return part;
  };
  const database = opened("database", await openDatabase(config, log, databaseFile));
  await prepareSchema(config, database, log);
  // The embedded parts keep their tables in the embedded database, also beside SQL Server.
  let shared = config.database.kind === "embedded" ? database : undefined;
  const embedded = (): Database => {
    shared ??= opened("embedded database", openEmbedded(config, databaseFile));
    return shared;
  };
  const storage = opened("storage", await openStorage(config, log));
  const content: ContentStore = opened("content", await openContent(config, embedded, log));
  const broker: Broker = opened("broker", await openBroker(config, embedded, log));
  await Promise.all([broker.connect(), content.connect()]);
  return { database, storage, broker, content };
}
