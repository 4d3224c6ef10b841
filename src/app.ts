import { Dispatcher } from "./broker/dispatcher.ts";
import type { Config } from "./config.ts";
import { deleteExpiredSessions } from "./data/sessions.ts";
import { openTrail } from "./domain/audit-trail.ts";
import { createAuthority } from "./domain/authority.ts";
import { createBlobFinder } from "./domain/blobs.ts";
import { startChores } from "./domain/chores.ts";
import { createDeletions } from "./domain/deletions.ts";
import { createDocuments } from "./domain/documents.ts";
import { createLogin } from "./domain/login.ts";
import { createPaths } from "./domain/paths.ts";
import { createRegistration, type Registration } from "./domain/registration.ts";
import { createSessions } from "./domain/sessions.ts";
import { createUploads } from "./domain/uploads.ts";
import { createUsers } from "./domain/users.ts";
import { AppError } from "./errors.ts";
import { HttpServer } from "./http/server.ts";
import { createThrottle } from "./http/throttle.ts";
import type { Logger } from "./log.ts";
import { auditSecrets, type Closers, openParts, type Parts } from "./parts.ts";
import { createGuard } from "./routes/access.ts";
import { createAuthRoutes } from "./routes/auth.ts";
import { createDocumentRoutes } from "./routes/documents.ts";
import { createHealthRoutes } from "./routes/health.ts";
import { createLogRoutes } from "./routes/logs.ts";
import { createPathRoutes } from "./routes/paths.ts";
import { createReferenceRoutes } from "./routes/reference.ts";
import { devTable, table } from "./routes/table.ts";
import { createUserRoutes } from "./routes/users.ts";
import { createJwt, type Jwt } from "./security/jwt.ts";
import { createPasswords } from "./security/passwords.ts";
import { readOrMakeSecret } from "./security/secret-file.ts";

/** What tests replace; a process leaves it out. */
export interface Substitutes {
  now?: () => Date;
  /** bcrypt's cost, 12 unless told. */
  passwordCost?: number;
  /** The embedded database's file, `nassaq.db` in the data folder unless told. */
  databaseFile?: string;
}

export interface App extends Parts {
  /** `http://host:port`. */
  readonly url: string;
  /** Ends requests in flight, up to the configured time-out, then closes every part. */
  stop(): Promise<void>;
}

/**
 * The composition root: opens the parts that the configuration names, wires them, listens, and
 * says `ready`. Throws what the database throws when it can't be had; other parts that are down
 * heal by themselves.
 */
export async function startApp(
  config: Config,
  log: Logger,
  substitutes: Substitutes = {},
): Promise<App> {
  const closers: Closers = [];
  const stop = async () => {
    for (const { part, close } of closers.splice(0)) {
      try {
        await close();
        log.debug("closed", { part });
      } catch (error) {
        log.error("a part did not close cleanly", { part, error });
      }
    }
  };
  try {
    const parts = await openParts(config, log, closers, substitutes.databaseFile);
    const url = await serve(config, log, parts, closers, substitutes);
    return { url, ...parts, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Wires the parts and listens. Returns the address. */
async function serve(
  config: Config,
  log: Logger,
  parts: Parts,
  closers: Closers,
  { now = () => new Date(), passwordCost = 12 }: Substitutes,
): Promise<string> {
  const { database, storage, broker, content } = parts;
  const passwords = createPasswords({ cost: passwordCost });
  closers.unshift({ part: "passwords", close: () => passwords.close() });
  const trail = await openTrail({ database, secrets: auditSecrets(config), now, log });
  closers.unshift({ part: "audit trail", close: () => trail.close() });
  const authority = createAuthority(database);
  const core = { database, authority, audit: trail.audit, now };
  const sessions = createSessions(core, {
    jwt: openJwt(config),
    accessTtlSeconds: config.accessTokenMinutes * 60,
    refreshTtlSeconds: config.refreshTokenDays * 24 * 60 * 60,
  });
  const registration = createRegistration(core, passwords);
  const firstAdmin = await makeFirstAdmin(config, registration, log);

  const findBlob = createBlobFinder(storage);
  const deletions = createDeletions({ database, storage, content, findBlob, log, now });
  const chores = startChores(async (stopping) => {
    await deletions.carryOutDue(stopping);
    await deleteExpiredSessions(database, now());
  }, log);
  closers.unshift({ part: "chores", close: () => chores.stop() });
  const dispatcher = new Dispatcher({ database, broker, log, now });
  dispatcher.start();
  closers.unshift({ part: "dispatcher", close: () => dispatcher.stop() });

  const handlers = {
    health: createHealthRoutes({ checks: parts, isStopping: (): boolean => server.closing, log }),
    auth: createAuthRoutes({
      registration,
      login: createLogin(core, passwords, sessions),
      sessions,
      perAddress: createThrottle({ perMinute: config.authRatePerAddress }),
      perAccount: createThrottle({ perMinute: config.authRatePerAccount }),
    }),
    users: createUserRoutes({ database, users: createUsers(core, sessions) }),
    documents: createDocumentRoutes({
      database,
      documents: createDocuments({ ...core, storage, content, findBlob, deletions, log }),
      uploads: createUploads({
        ...core,
        storage,
        deletions,
        backend: config.processingBackend,
        queueName: config.queueName,
        onQueued: () => dispatcher.notify(),
      }),
      maxUploadBytes: config.maxUploadBytes,
    }),
    paths: createPathRoutes({ database, paths: createPaths(core) }),
    logs: createLogRoutes({ database }),
  };
  const isDev = config.environment === "dev";
  const server: HttpServer = new HttpServer({
    routes: [...table(handlers), ...(isDev ? devTable(createReferenceRoutes()) : [])],
    authorize: createGuard({ database, sessions, authority }),
    log,
    corsOrigins: config.corsOrigins,
    trustProxy: config.trustProxy,
  });
  const { host, port } = await server.listen(config.port, config.host);
  const timeout = config.shutdownTimeoutSeconds * 1000;
  closers.unshift({ part: "server", close: () => server.close(timeout) });
  const url = `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
  const described = Object.entries(parts).map(([name, part]) => [name, part.description]);
  const admin = firstAdmin && { first_admin: firstAdmin.email, password: firstAdmin.password };
  log.info("ready", { address: url, ...Object.fromEntries(described), ...admin });
  return url;
}

function openJwt(config: Config): Jwt {
  const secret = config.jwtSecret ?? readOrMakeSecret(config.dataDir);
  return createJwt({ secret, previous: config.jwtPreviousSecrets });
}

/** The first admin, if it is one whose password only the `ready` line tells. */
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
    if (!(await registration.hasAdmin())) {
      const reason = "the address of BOOTSTRAP_ADMIN_EMAIL belongs to another user";
      log.warn(`the first admin was not made: ${reason}`, { error });
    }
    return undefined;
  }
}
