import { join } from "node:path";
import type { Broker } from "./broker/broker.ts";
import { createDispatcher } from "./broker/dispatcher.ts";
import { type Config, ConfigError } from "./config.ts";
import type { ContentStore } from "./content/content-store.ts";
import type { Database } from "./data/database.ts";
import { deleteExpiredSessions } from "./data/sessions.ts";
import { openSqlite } from "./data/sqlite.ts";
import { Blobs } from "./domain/blobs.ts";
import { startChores } from "./domain/chores.ts";
import { Deletions } from "./domain/deletions.ts";
import { Documents } from "./domain/documents.ts";
import { createLogin } from "./domain/login.ts";
import { createPaths } from "./domain/paths.ts";
import { createRegistration, type Registration } from "./domain/registration.ts";
import { Uploads } from "./domain/uploads.ts";
import { createUsers } from "./domain/users.ts";
import { AppError } from "./errors.ts";
import { createHttpServer, type HttpServer } from "./http/server.ts";
import { createThrottle } from "./http/throttle.ts";
import type { Logger } from "./log.ts";
import { createGuard } from "./routes/access.ts";
import { createAuthRoutes } from "./routes/auth.ts";
import { createDocsRoutes } from "./routes/docs.ts";
import { createDocumentRoutes } from "./routes/documents.ts";
import { createHealthRoutes } from "./routes/health.ts";
import { devTable, RESERVED, table } from "./routes/index.ts";
import { createPathRoutes } from "./routes/paths.ts";
import { createUserRoutes } from "./routes/users.ts";
import { createJwt } from "./security/jwt.ts";
import { createPasswords } from "./security/passwords.ts";
import { readOrMakeSecret } from "./security/secret-file.ts";
import { createSessions } from "./security/sessions.ts";
import type { Storage } from "./storage/storage.ts";

/** What tests replace; a process leaves it out. */
export interface Substitutes {
  now?: () => Date;
  /** bcrypt's cost, 12 unless told. */
  passwordCost?: number;
  /** The embedded database's file, `nassaq.db` in the data folder unless told. */
  databaseFile?: string;
}

export interface App {
  /** `http://host:port`. */
  readonly url: string;
  readonly database: Database;
  readonly storage: Storage;
  readonly broker: Broker;
  readonly content: ContentStore;
  /** Ends requests in flight, up to the configured time-out, then closes every part. */
  stop(): Promise<void>;
}

/**
 * The composition root: opens the parts that the configuration names, wires them, listens, and says `ready`. Throws what the
 * database throws when it can't be had; other parts that are down heal by themselves.
 */
export async function startApp(
  config: Config,
  log: Logger,
  substitutes: Substitutes = {},
): Promise<App> {
  const closers: (() => Promise<unknown>)[] = [];
  const closeAll = async () => {
    for (const close of closers.splice(0).reverse()) {
      await close().catch((error) => log.error("a part did not close cleanly", { error }));
    }
  };
  try {
    return await compose(config, log, substitutes, closers, closeAll);
  } catch (error) {
    await closeAll();
    throw error;
  }
}

async function compose(
  config: Config,
  log: Logger,
  substitutes: Substitutes,
  closers: (() => Promise<unknown>)[],
  closeAll: () => Promise<void>,
): Promise<App> {
  const now = substitutes.now ?? (() => new Date());
  const opened = <Part extends { close(): Promise<unknown> }>(part: Part): Part => {
    closers.push(() => part.close());
    return part;
  };

  const database = opened(await openDatabase(config, log, substitutes.databaseFile));
  // The embedded parts keep their tables in the embedded database, also beside SQL Server.
  let shared = config.database.kind === "embedded" ? database : undefined;
  const embedded = (): Database => {
    shared ??= opened(openEmbedded(config, log, substitutes.databaseFile));
    return shared;
  };
  await prepareSchema(config, database, log);

  const storage = opened(await openStorage(config, log));
  const content = opened(await openContent(config, embedded, log));
  const broker = opened(await openBroker(config, embedded, log));
  await Promise.all([broker.connect(), content.connect()]);

  const jwt = createJwt({
    secret: config.jwtSecret ?? readOrMakeSecret(config.dataDir),
    previous: config.jwtPreviousSecrets,
  });
  const sessions = createSessions({
    jwt,
    accessTtlSeconds: config.accessTokenMinutes * 60,
    refreshTtlSeconds: config.refreshTokenDays * 24 * 60 * 60,
    now,
  });
  const passwords = opened(createPasswords({ cost: substitutes.passwordCost ?? 12 }));
  const registration = createRegistration({ database, passwords, now });
  const firstAdmin = await makeFirstAdmin(config, registration, log);

  const dispatcher = createDispatcher({ database, broker, log, now });
  dispatcher.start();
  closers.push(() => dispatcher.stop());
  const blobs = new Blobs({ storage, content });
  const deletions = new Deletions({ database, storage, content, blobs, log, now });
  const chores = startChores(async (stopping) => {
    await deletions.carryOutDue(stopping);
    await deleteExpiredSessions(database, now());
  }, log);
  closers.push(() => chores.stop());

  const handlers = {
    health: createHealthRoutes({
      checks: { database, storage, broker, content },
      isStopping: (): boolean => server.closing,
      log,
    }),
    auth: createAuthRoutes({
      registration,
      login: createLogin({ database, passwords, sessions, now }),
      perAddress: createThrottle({ perMinute: config.authRatePerAddress }),
      perAccount: createThrottle({ perMinute: config.authRatePerAccount }),
    }),
    users: createUserRoutes({ database, users: createUsers({ database, sessions, now }) }),
    documents: createDocumentRoutes({
      database,
      documents: new Documents({ database, storage, blobs, deletions, log, now }),
      uploads: new Uploads({
        database,
        storage,
        deletions,
        backend: config.processingBackend,
        queueName: config.queueName,
        onQueued: () => dispatcher.notify(),
        now,
      }),
      maxUploadBytes: config.maxUploadBytes,
    }),
    paths: createPathRoutes({ database, paths: createPaths({ database, now }) }),
  };
  const server: HttpServer = createHttpServer({
    routes: [
      ...table(handlers),
      ...(config.environment === "dev" ? devTable(createDocsRoutes()) : []),
    ],
    reserved: RESERVED,
    authorize: createGuard({ database, sessions, now }),
    log,
    corsOrigins: config.corsOrigins,
    trustProxy: config.trustProxy,
  });
  const { host, port } = await server.listen(config.port, config.host);
  const url = `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
  log.info("ready", {
    address: url,
    database: database.description,
    storage: storage.description,
    broker: broker.description,
    content: content.description,
    ...(firstAdmin ? { first_admin: firstAdmin.email, password: firstAdmin.password } : {}),
  });

  return {
    url,
    database,
    storage,
    broker,
    content,
    async stop() {
      await server.close(config.shutdownTimeoutSeconds * 1000);
      await closeAll();
    },
  };
}

/** Migrates the database; with MIGRATE_ON_START=no only looks, and throws `SchemaBehind` when it is behind. */
export async function prepareSchema(
  config: Config,
  database: Database,
  log: Logger,
): Promise<void> {
  if (config.migrateOnStart) {
    const applied = await database.migrate();
    if (applied.length > 0) log.debug("migrated the database", { applied });
    return;
  }
  const pending = await database.pendingMigrations();
  if (pending.length > 0) throw new SchemaBehind(pending);
}

/** With MIGRATE_ON_START=no: the database lacks migrations that this version needs. */
class SchemaBehind extends Error {
  override readonly name = "SchemaBehind";

  constructor(pending: readonly string[]) {
    super(
      `The database lacks migrations: ${pending.join(", ")}. Run \`npm run migrate\`, or set MIGRATE_ON_START=yes.`,
    );
  }
}

function openEmbedded(
  config: Config,
  log: Logger,
  file = join(config.dataDir, "nassaq.db"),
): Database {
  return openSqlite({ file, log });
}

// Adapters are imported when they are asked for: nobody loads the driver of a part that is not used.

/** The database that the configuration names, as it is: not migrated. `file` replaces the embedded one's. */
export async function openDatabase(config: Config, log: Logger, file?: string): Promise<Database> {
  if (config.database.kind === "embedded") return openEmbedded(config, log, file);
  const { openSqlServer } = await import("./data/sqlserver.ts");
  return openSqlServer({ ...config.database, log });
}

async function openStorage(config: Config, log: Logger): Promise<Storage> {
  if (config.storage.kind === "local") {
    const { LocalFolderStorage } = await import("./storage/local-folder.ts");
    return LocalFolderStorage.open({ folder: join(config.dataDir, "blobs") });
  }
  const { AzureBlobStorage } = await import("./storage/azure-blob.ts");
  try {
    return await AzureBlobStorage.open({ ...config.storage, log });
  } catch {
    // Only the SDK can tell, and its error could repeat the key.
    throw new ConfigError(
      "BLOB_CONNECTION_STR is not a connection string that the Azure SDK takes.",
    );
  }
}

async function openContent(
  config: Config,
  embedded: () => Database,
  log: Logger,
): Promise<ContentStore> {
  if (config.content.kind === "embedded") {
    const { EmbeddedContentStore } = await import("./content/embedded.ts");
    return new EmbeddedContentStore(embedded());
  }
  const { MongoContentStore, mongoConnectionString } = await import("./content/mongo.ts");
  return new MongoContentStore({
    url: mongoConnectionString(config.content),
    database: config.content.database,
    log,
  });
}

async function openBroker(config: Config, embedded: () => Database, log: Logger): Promise<Broker> {
  switch (config.broker.kind) {
    case "embedded": {
      const { EmbeddedBroker } = await import("./broker/embedded.ts");
      return new EmbeddedBroker({ database: embedded(), log });
    }
    case "rabbitmq": {
      const { RabbitMQBroker } = await import("./broker/rabbitmq.ts");
      return new RabbitMQBroker({ url: config.broker.url, log });
    }
    case "service-bus": {
      const { AzureServiceBusBroker } = await import("./broker/service-bus.ts");
      return new AzureServiceBusBroker({ connectionString: config.broker.connectionString, log });
    }
  }
}

async function makeFirstAdmin(
  config: Config,
  registration: Registration,
  log: Logger,
): Promise<{ email: string; password: string } | undefined> {
  const credentials = config.bootstrapAdmin;
  const generate = config.environment === "dev" && credentials === undefined;
  try {
    const made = await registration.ensureFirstAdmin({ credentials, generate });
    return generate ? made : undefined;
  } catch (error) {
    if (!(error instanceof AppError && error.code === "bad_request")) throw error;
    // Another server that starts on the same database may have made the same one.
    if (await registration.hasAdmin()) return undefined;
    log.warn(
      "the first admin was not made: the address of BOOTSTRAP_ADMIN_EMAIL belongs to another user",
      {
        error,
      },
    );
    return undefined;
  }
}
