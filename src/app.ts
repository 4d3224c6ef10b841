import { Dispatcher } from "./broker/dispatcher.ts";
import { type Config, ConfigError } from "./config.ts";
import { openTrail } from "./domain/audit-trail.ts";
import { type Core, createAuthority } from "./domain/authority.ts";
import { createBlobFinder } from "./domain/blobs.ts";
import { startChores } from "./domain/chores.ts";
import { createDeletions, type Deletions, type Stores } from "./domain/deletions.ts";
import { createDocuments } from "./domain/documents.ts";
import { createFreeSpace } from "./domain/free-space.ts";
import { indexTexts } from "./domain/indexing.ts";
import { createLogin } from "./domain/login.ts";
import { createOcrQueue, type OcrQueue } from "./domain/ocr-queue.ts";
import { createPasswordChanges } from "./domain/password-changes.ts";
import { createPaths } from "./domain/paths.ts";
import { createRegistration, type Registration } from "./domain/registration.ts";
import { createReprocess } from "./domain/reprocessing.ts";
import { createSearch } from "./domain/search.ts";
import { createSessions } from "./domain/sessions.ts";
import { createStatusWatch } from "./domain/status-watch.ts";
import { sweepAccounts, sweepBlobs } from "./domain/sweep.ts";
import { createUploads, type Uploads } from "./domain/uploads.ts";
import { createUsers } from "./domain/users.ts";
import { AppError } from "./errors.ts";
import { HttpServer } from "./http/server.ts";
import { createThrottle } from "./http/throttle.ts";
import type { Logger } from "./log.ts";
import { createMetrics } from "./metrics/metrics.ts";
import { serveMetrics } from "./metrics/server.ts";
import { auditSecrets, jwtSecrets, openParts, type Parts } from "./parts.ts";
import { createGuard } from "./routes/access.ts";
import { createAuthRoutes } from "./routes/auth.ts";
import { createDocumentRoutes } from "./routes/documents.ts";
import { createHealthRoutes } from "./routes/health.ts";
import { createLogRoutes } from "./routes/logs.ts";
import { createPathRoutes } from "./routes/paths.ts";
import { createProcessingRoutes } from "./routes/processing.ts";
import { createReferenceRoutes } from "./routes/reference.ts";
import { devTable, table } from "./routes/table.ts";
import { createUserRoutes } from "./routes/users.ts";
import { createJwt } from "./security/jwt.ts";
import { createPasswords } from "./security/passwords.ts";
import { createClosers, type OnStop } from "./stopping.ts";
import { startWorkerBeside } from "./worker/beside.ts";

/** Milliseconds. */
const DAY = 24 * 60 * 60 * 1000;
const MINUTE = 60 * 1000;
/** Four times in a lease. */
const OFTEN = 5 * 1000;

/** What tests replace. */
interface Substitutes {
  now?: () => Date;
  /** bcrypt's cost. */
  passwordCost?: number;
  /** The embedded database's file. */
  databaseFile?: string;
}

export interface App extends Parts {
  /** `http://host:port`. */
  readonly url: string;
  /** Lets requests in flight end, up to SHUTDOWN_TIMEOUT, and closes every part, a second later. */
  stop(): Promise<void>;
}

/**
 * The composition root: opens the parts that the configuration names, wires them and listens.
 * Throws what the database throws when it can't be had; other parts that are down heal later.
 */
export async function startApp(
  config: Config,
  log: Logger,
  substitutes: Substitutes = {},
): Promise<App> {
  const { onStop, close: stop } = createClosers(log, config.SHUTDOWN_TIMEOUT);
  try {
    const parts = await openParts(config, log, onStop, substitutes);
    const url = await serve(config, log, parts, onStop, substitutes);
    if (config.EMBEDDED_WORKER) onStop("worker", startWorkerBeside({ log }));
    return { url, ...parts, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Returns the address. */
async function serve(
  config: Config,
  log: Logger,
  parts: Parts,
  onStop: OnStop,
  { now = () => new Date(), passwordCost = 12 }: Substitutes,
): Promise<string> {
  const { database, storage, broker, content } = parts;
  const passwords = createPasswords({ cost: passwordCost });
  onStop("passwords", () => passwords.close());
  const trail = await openTrail({ database, secrets: auditSecrets(config), now, log });
  onStop("audit trail", () => trail.close());
  const core = { database, authority: createAuthority(database), audit: trail.audit, now };
  const [secret, ...previous] = jwtSecrets(config);
  const sessions = createSessions(core, {
    jwt: createJwt({ secret, previous }),
    accessTtlSeconds: config.ACCESS_TOKEN_EXPIRE_MINUTES * 60,
    refreshTtlSeconds: config.REFRESH_TOKEN_EXPIRE_DAYS * 24 * 60 * 60,
  });
  const passwordChanges = createPasswordChanges(core, passwords, sessions);
  const registration = createRegistration(core, passwords);
  await makeFirstAdmin(config, registration, log);

  const stores = { storage, content, findBlob: createBlobFinder(storage), log };
  const deletions = createDeletions({ ...stores, database, now });
  const dispatcher = new Dispatcher({ database, broker, log, now });
  dispatcher.start();
  onStop("dispatcher", () => dispatcher.stop());
  const space = createFreeSpace(config.MIN_FREE_MB * 1024 * 1024);
  const queue = createOcrQueue({
    backend: config.PROCESSING_BACKEND,
    name: config.OCR_QUEUE_NAME,
    broker,
    notify: () => dispatcher.notify(),
  });
  const uploads = createUploads({ ...core, storage, deletions, space, queue });
  startBackground({ ...core, ...stores, deletions, uploads }, onStop);
  const metrics = await startMetrics(config, { ...core, broker, uploads, passwords }, onStop);
  const { watch, ...documents } = documentRoutes(config, core, stores, deletions, uploads, queue);

  const handlers = {
    health: createHealthRoutes({
      checks: { ...parts, database: space.checked(database), storage: space.checked(storage) },
      isStopping: (): boolean => server.closing,
      log,
    }),
    auth: createAuthRoutes({
      registration,
      login: createLogin(core, passwords, sessions),
      sessions,
      passwordChanges,
      perAddress: createThrottle({ perMinute: config.AUTH_RATE_PER_ADDRESS }),
      perAccount: createThrottle({ perMinute: config.AUTH_RATE_PER_ACCOUNT }),
    }),
    users: createUserRoutes({ database, users: createUsers(core, sessions), passwordChanges }),
    ...documents,
    paths: createPathRoutes({ database, paths: createPaths(core) }),
    logs: createLogRoutes({ database }),
  };
  const reference = config.ENVIRONMENT === "dev" ? devTable(createReferenceRoutes()) : [];
  const server: HttpServer = new HttpServer({
    routes: [...table(handlers), ...reference],
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
  const described = Object.entries(parts).map(([name, part]) => [name, part.description]);
  log.info("ready", { address: url, metrics: metrics?.address, ...Object.fromEntries(described) });
  return url;
}

const addressOf = ({ host, port }: { host: string; port: number }) =>
  `http://${host.includes(":") ? `[${host}]` : host}:${port}`;

function documentRoutes(
  config: Config,
  core: Core,
  stores: Stores,
  deletions: Deletions,
  uploads: Uploads,
  queue: OcrQueue,
) {
  const { storage, content, log } = stores;
  const documents = createDocuments({ ...core, ...stores, deletions });
  const maxUploadBytes = config.MAX_UPLOAD_SIZE_MB * 1024 * 1024;
  const watch = createStatusWatch({ ...core, log });
  const reprocess = createReprocess({ ...core, storage, documents, queue });
  const search = createSearch({ ...core, content });
  return {
    watch,
    documents: createDocumentRoutes({ ...core, documents, uploads, maxUploadBytes }),
    processing: createProcessingRoutes({ documents, watch, reprocess, search }),
  };
}

/** What is done beside the requests, each in rounds of its own. */
function startBackground(
  parts: Core & Stores & { deletions: Deletions; uploads: Uploads },
  onStop: OnStop,
) {
  const { storage, log, deletions, uploads } = parts;
  const dueDeletions = async (stopping: AbortSignal) => {
    // Where the database was away for longer than a lease, the uploads that run here go on.
    await uploads.renew();
    await deletions.carryOutDue(stopping);
  };
  const chores: [name: string, interval: number, Parameters<typeof startChores>[0]][] = [
    ["leases of uploads", OFTEN, uploads.renew],
    ["leases of files", OFTEN, async () => storage.renew?.()],
    ["deletions", OFTEN, dueDeletions],
    ["accounts", MINUTE, () => sweepAccounts(parts)],
    ["texts", MINUTE, (stopping) => indexTexts(parts, stopping)],
    ["strays", DAY, (stopping) => sweepBlobs(parts, stopping)],
  ];
  for (const [name, interval, chore] of chores)
    onStop(name, startChores(chore, log, interval).stop);
}

/** Nothing is counted and no port opened unless METRICS_PORT is set. */
async function startMetrics(
  { METRICS_PORT: port, METRICS_HOST: host }: Config,
  sources: Parameters<typeof createMetrics>[0],
  onStop: OnStop,
) {
  if (port === undefined) return undefined;
  const metrics = createMetrics(sources);
  onStop("metrics", async () => void metrics.close());
  const server = await serveMetrics(metrics.scrape, port, host).catch((error) => {
    throw new ConfigError(`METRICS_PORT: can't listen on ${host} port ${port} (${error.code}).`);
  });
  onStop("metrics server", () => server.close());
  return { onAnswered: metrics.onAnswered, address: `${addressOf(server)}/metrics` };
}

/** A generated password is told here, once, and never in the log. */
async function makeFirstAdmin(config: Config, registration: Registration, log: Logger) {
  const { BOOTSTRAP_ADMIN_EMAIL: email, BOOTSTRAP_ADMIN_PASSWORD: password } = config;
  const credentials = email && password ? { email, password } : undefined;
  const generate = config.ENVIRONMENT === "dev" && credentials === undefined;
  try {
    const made = await registration.ensureFirstAdmin({ credentials, generate });
    if (generate && made)
      process.stderr.write(`First administrator: ${made.email}\nPassword: ${made.password}\n`);
  } catch (error) {
    if (!(error instanceof AppError && error.code === "bad_request")) throw error;
    // Another user has the address, or another server made the same admin meanwhile.
    log.warn("the first admin was not made", { error });
  }
}
