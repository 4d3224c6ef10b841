import { availableParallelism } from "node:os";
import { type Background, createBackground } from "./background.ts";
import { type Config, ConfigError } from "./config.ts";
import { openTrail } from "./domain/audit-trail.ts";
import { type Core, createAuthority } from "./domain/authority.ts";
import { createBlobFinder } from "./domain/blobs.ts";
import { createDeletions } from "./domain/deletions.ts";
import { createDocuments } from "./domain/documents.ts";
import { createFreeSpace } from "./domain/free-space.ts";
import { createLogin } from "./domain/login.ts";
import { createOcrQueue } from "./domain/ocr-queue.ts";
import { createPasswordChanges } from "./domain/password-changes.ts";
import { createPaths } from "./domain/paths.ts";
import { createRegistration, type Registration } from "./domain/registration.ts";
import { createReprocess } from "./domain/reprocessing.ts";
import { createSearch } from "./domain/search.ts";
import { createSessions } from "./domain/sessions.ts";
import { createStatusWatch } from "./domain/status-watch.ts";
import { createUploads } from "./domain/uploads.ts";
import { createUsers } from "./domain/users.ts";
import { HttpServer } from "./http/server.ts";
import { createThrottle } from "./http/throttle.ts";
import type { Logger } from "./log.ts";
import type { Sources as MetricsSources } from "./metrics/metrics.ts";
import { auditSecrets, jwtSecrets, openParts, type Parts } from "./parts.ts";
import { createGuard } from "./routes/access.ts";
import { createAuthRoutes } from "./routes/auth.ts";
import { createDocumentRoutes } from "./routes/documents.ts";
import { createHealthRoutes } from "./routes/health.ts";
import { createLogRoutes } from "./routes/logs.ts";
import { createPathRoutes } from "./routes/paths.ts";
import { createProcessingRoutes } from "./routes/processing.ts";
import { devTable, table } from "./routes/table.ts";
import { createUserRoutes } from "./routes/users.ts";
import { createJwt } from "./security/jwt.ts";
import { createPasswords, type Passwords } from "./security/passwords.ts";
import { createClosers, type OnStop } from "./stopping.ts";

const MIB = 1024 * 1024;

interface Options {
  /** The processes on the same port, of which one leads, and hears that a message was committed. */
  team?: { notify(): void };
  now?: () => Date;
  /** bcrypt's. */
  passwordCost?: number;
  /** The embedded database's. */
  databaseFile?: string;
}

export interface App extends Parts, Pick<Background, "lead" | "notify"> {
  /** `http://host:port`. */
  readonly url: string;
  /** What the `ready` line says: addresses, and what each part is. */
  readonly description: { readonly address: string; readonly metrics: string | undefined };
  /** Lets requests in flight end, up to SHUTDOWN_TIMEOUT, and closes every part, a second later. */
  stop(): Promise<void>;
}

/**
 * The composition root: opens the parts that the configuration names, wires them and listens.
 * Throws what the database throws when it can't be had; other parts that are down heal later.
 * Alone it leads at once; in a team when it is told to.
 */
export async function startApp(config: Config, log: Logger, options: Options = {}): Promise<App> {
  const { onStop, close: stop } = createClosers(log, config.SHUTDOWN_TIMEOUT);
  try {
    const parts = await openParts(config, log, onStop, options);
    const { background, url, metrics } = await serve(config, log, parts, onStop, options);
    const described = Object.entries(parts).map(([name, part]) => [name, part.description]);
    const description = { address: url, metrics, ...Object.fromEntries(described) };
    if (!options.team) {
      log.info("ready", description);
      background.lead();
    }
    return { url, description, ...background, ...parts, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Wires the domain to the routes and listens. */
async function serve(
  config: Config,
  log: Logger,
  parts: Parts,
  onStop: OnStop,
  { team, now = () => new Date(), passwordCost: cost = 12 }: Options,
) {
  const { database, storage, broker, content } = parts;
  const threads = Math.max(1, Math.floor((availableParallelism() - 1) / config.WEB_CONCURRENCY));
  const passwords = createPasswords({ cost, threads });
  onStop("passwords", () => passwords.close());
  const trail = await openTrail({ database, secrets: auditSecrets(config), now, log });
  onStop("audit trail", () => trail.close());
  const core = { database, authority: createAuthority(database), audit: trail.audit, now };

  const stores = { storage, content, findBlob: createBlobFinder(storage), log };
  const deletions = createDeletions({ ...stores, database, now });
  const space = createFreeSpace(config.MIN_FREE_MB * MIB);
  const queue = createOcrQueue({
    backend: config.PROCESSING_BACKEND,
    name: config.OCR_QUEUE_NAME,
    broker,
    notify: (): void => (team ?? background).notify(),
  });
  const uploads = createUploads({ ...core, storage, deletions, space, queue });
  const registration = createRegistration(core, passwords);
  const works = { ...core, ...stores, broker, deletions, uploads, registration };
  const background = createBackground(config, works, onStop);
  const metrics = await startMetrics(config, { ...core, broker, uploads, passwords }, onStop);

  const { sessions, ...accounts } = accountRoutes(config, core, passwords, works, background);
  const watch = createStatusWatch({ ...core, log });
  const documents = createDocuments({ ...core, ...stores, deletions });
  const reprocess = createReprocess({ ...core, storage, documents, queue });
  const search = createSearch({ ...core, content });
  const maxUploadBytes = config.MAX_UPLOAD_SIZE_MB * MIB;
  const handlers = {
    health: createHealthRoutes({
      checks: { ...parts, database: space.checked(database), storage: space.checked(storage) },
      isStopping: (): boolean => server.closing,
      log,
    }),
    ...accounts,
    documents: createDocumentRoutes({ ...core, documents, uploads, maxUploadBytes }),
    processing: createProcessingRoutes({ documents, watch, reprocess, search }),
    paths: createPathRoutes({ database, paths: createPaths(core) }),
    logs: createLogRoutes({ database }),
  };
  const server: HttpServer = new HttpServer({
    routes: [...table(handlers), ...(await referenceRoutes(config))],
    authorize: createGuard(core, sessions),
    log,
    onAnswered: metrics?.onAnswered,
    corsOrigins: config.CORS_ORIGINS,
    trustProxy: config.TRUST_PROXY,
    maxConnections: config.MAX_CONNECTIONS,
  });
  const url = addressOf(await server.listen(config.PORT, config.HOST));
  onStop("server", () => server.close(config.SHUTDOWN_TIMEOUT * 1000), "server");
  // Whoever it lets wait is answered at once.
  onStop("status watch", () => watch.stop(), "server");
  return { background, url, metrics: metrics?.address };
}

const addressOf = ({ host, port }: { host: string; port: number }) =>
  `http://${host.includes(":") ? `[${host}]` : host}:${port}`;

function accountRoutes(
  config: Config,
  core: Core,
  passwords: Passwords,
  { registration }: { registration: Registration },
  background: Background,
) {
  const [secret, ...previous] = jwtSecrets(config);
  const sessions = createSessions(core, {
    jwt: createJwt({ secret, previous }),
    accessTtlSeconds: config.ACCESS_TOKEN_EXPIRE_MINUTES * 60,
    refreshTtlSeconds: config.REFRESH_TOKEN_EXPIRE_DAYS * 24 * 60 * 60,
  });
  const passwordChanges = createPasswordChanges(core, passwords, sessions);
  const login = createLogin(core, passwords, sessions);
  return {
    sessions,
    auth: createAuthRoutes({
      // The first admin can log in as soon as the server is ready, and nobody takes the address.
      registration: { ...registration, register: background.settledBefore(registration.register) },
      login: background.settledBefore(login),
      sessions,
      passwordChanges,
      perAddress: createThrottle({ perMinute: config.AUTH_RATE_PER_ADDRESS }),
      perAccount: createThrottle({ perMinute: config.AUTH_RATE_PER_ACCOUNT }),
    }),
    users: createUserRoutes({
      database: core.database,
      users: createUsers(core, sessions),
      passwordChanges,
    }),
  };
}

/** The pages that show the API are for developers. */
async function referenceRoutes({ ENVIRONMENT }: Config) {
  if (ENVIRONMENT !== "dev") return [];
  const { createReferenceRoutes } = await import("./routes/reference.ts");
  return devTable(createReferenceRoutes());
}

/** Nothing is counted and no port opened unless METRICS_PORT is set. */
async function startMetrics(
  { METRICS_PORT: port, METRICS_HOST: host }: Config,
  sources: MetricsSources,
  onStop: OnStop,
) {
  if (port === undefined) return undefined;
  const { createMetrics } = await import("./metrics/metrics.ts");
  const { serveMetrics } = await import("./metrics/server.ts");
  const metrics = createMetrics(sources);
  onStop("metrics", async () => void metrics.close());
  const server = await serveMetrics(metrics.scrape, port, host).catch((error) => {
    throw new ConfigError(`METRICS_PORT: can't listen on ${host} port ${port} (${error.code}).`);
  });
  onStop("metrics server", () => server.close());
  return { onAnswered: metrics.onAnswered, address: `${addressOf(server)}/metrics` };
}
