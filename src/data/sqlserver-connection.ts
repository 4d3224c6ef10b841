import sql from "mssql";
import type { Logger } from "../log.ts";

export interface SqlServerOptions {
  server: string;
  port: number;
  /** With an instance the SQL Server Browser says the port. */
  instance?: string | undefined;
  name: string;
  user: string;
  password: string;
  encrypt: boolean;
  trustServerCertificate: boolean;
  connectTimeoutSeconds: number;
  poolMax: number;
  /** A connection older than this is replaced before its next use. */
  poolRecycleSeconds: number;
  /** Attempts after the first; before the nth, `retryDelayBase` to the power of n seconds go by. */
  maxRetries: number;
  retryDelayBase: number;
  log: Logger;
}

/** For a free connection, and for an answer, in ms. */
export const TIMEOUTS = { acquire: 10_000, request: 30_000 };

/** In ms. To check a connection in steady use each time would double the round trips. */
const UNCHECKED_IDLE = 1_000;

/** With what the typings lack. */
const DriverPool = sql.ConnectionPool as unknown as new (
  config: sql.config,
) => sql.ConnectionPool & {
  config: sql.config;
  release(connection: object): void;
  _poolValidate(connection: object): unknown;
};

class Pool extends DriverPool {
  readonly #releasedAt = new WeakMap<object, number>();

  override release(connection: object): void {
    this.#releasedAt.set(connection, performance.now());
    super.release(connection);
  }

  /** Asks the server after a pause; else looks only at the socket. */
  override _poolValidate(connection: object): unknown {
    const now = performance.now();
    const idle = now - (this.#releasedAt.get(connection) ?? now);
    this.config.validateConnection = idle > UNCHECKED_IDLE ? true : "socket";
    return super._poolValidate(connection);
  }
}

/** Not connected yet. */
export function createPool(options: SqlServerOptions, timeouts: typeof TIMEOUTS) {
  const { server, port, user, password, encrypt, trustServerCertificate } = options;
  const connectionTimeout = options.connectTimeoutSeconds * 1000;
  const pool = new Pool({
    ...{ server, port, user, password, connectionTimeout },
    database: options.name,
    requestTimeout: timeouts.request,
    pool: {
      max: options.poolMax,
      acquireTimeoutMillis: timeouts.acquire,
      // Later than the driver's own time-out, which says more.
      createTimeoutMillis: connectionTimeout + 5_000,
    },
    options: {
      instanceName: options.instance,
      encrypt,
      trustServerCertificate,
      // The driver would try again by itself, without a line in the log.
      maxRetriesOnTransientErrors: 0,
      appName: "nassaq-server",
    },
    beforeConnect: (connection) => {
      keepErrorNumber(connection);
      retireAfter(connection, options.poolRecycleSeconds);
    },
  });
  // Whoever waits for a connection gets its failure. Without a listener it would end the process.
  pool.on("error", () => {});
  return pool;
}

type Connection = Parameters<NonNullable<sql.config["beforeConnect"]>>[0];

/** Adds the server's first number to the driver's login error: 18456 follows any other. */
function keepErrorNumber(connection: Connection): void {
  let first: number | undefined;
  connection.on("errorMessage", ({ number }: { number: number }) => {
    first ??= number;
  });
  connection.once("connect", (error) => error && Object.assign(error, { number: first }));
}

/** Marks it then as the driver marks a broken one. A query under way still ends. */
function retireAfter(connection: Connection, seconds: number): void {
  const timer = setTimeout(() => Object.assign(connection, { hasError: true }), seconds * 1000);
  connection.once("end", () => clearTimeout(timer));
}
