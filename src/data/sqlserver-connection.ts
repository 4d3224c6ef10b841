import sql from "mssql";
import type { Logger } from "../log.ts";

/** Where the server is, who we are there, and how long to be patient. */
export interface SqlServerOptions {
  server: string;
  port: number;
  /** With an instance the SQL Server Browser says the port, and `port` has no meaning. */
  instance?: string | undefined;
  /** The database. */
  name: string;
  user: string;
  password: string;
  encrypt: boolean;
  trustServerCertificate: boolean;
  connectTimeoutSeconds: number;
  poolMax: number;
  /** A connection older than this is replaced before its next use. */
  poolRecycleSeconds: number;
  /** Attempts after the first one; before retry n, `retryDelayBase` to the power of n seconds go by. */
  maxRetries: number;
  retryDelayBase: number;
  /** How long a statement waits for a connection of the pool, and the server for an answer. */
  acquireTimeoutSeconds?: number;
  requestTimeoutSeconds?: number;
  log: Logger;
}

const ACQUIRE_TIMEOUT = 10;
const REQUEST_TIMEOUT = 30;
/** Node fires a longer timer at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** An ADO.NET connection string. Values are quoted, so that any character in them is just that. It is a secret. */
export function connectionString(options: SqlServerOptions): string {
  const { server, port, instance } = options;
  const parts = {
    Server: instance === undefined ? `${server},${port}` : `${server}\\${instance}`,
    Database: options.name,
    "User Id": options.user,
    Password: options.password,
    Encrypt: options.encrypt,
    TrustServerCertificate: options.trustServerCertificate,
  };
  return Object.entries(parts)
    .map(([key, value]) => `${key}=${typeof value === "string" ? quoted(value) : value}`)
    .join(";");
}

/** https://learn.microsoft.com/en-us/dotnet/api/system.data.sqlclient.sqlconnection.connectionstring: a quote is doubled. */
function quoted(value: string): string {
  return `"${value.replaceAll('"', '""')}"`;
}

/** What the server is called in logs and on the `ready` line. */
export function describe(options: SqlServerOptions): string {
  const { server, port, instance, name } = options;
  return `SQL Server (${server}${instance === undefined ? `:${port}` : `\\${instance}`}, ${name})`;
}

/** A pool, not yet connected, that asks each connection `SELECT 1` before lending it and replaces aged ones. */
export function createPool(options: SqlServerOptions): sql.ConnectionPool {
  const { acquireTimeoutSeconds = ACQUIRE_TIMEOUT, requestTimeoutSeconds = REQUEST_TIMEOUT } =
    options;
  const parsed = sql.ConnectionPool.parseConnectionString(connectionString(options));
  const pool = new sql.ConnectionPool({
    ...parsed,
    connectionTimeout: options.connectTimeoutSeconds * 1000,
    requestTimeout: requestTimeoutSeconds * 1000,
    validateConnection: true,
    pool: {
      min: 0,
      max: options.poolMax,
      acquireTimeoutMillis: acquireTimeoutSeconds * 1000,
      // Later than the driver's own time-out, which says more.
      createTimeoutMillis: options.connectTimeoutSeconds * 1000 + 5_000,
    },
    // The driver would try again by itself, without a line in the log.
    options: {
      ...parsed.options,
      maxRetriesOnTransientErrors: 0,
      useUTC: true,
      appName: "nassaq-server",
    },
    beforeConnect: (connection) => {
      keepErrorNumber(connection);
      retireAfter(connection, options.poolRecycleSeconds);
    },
  });
  // Failures reach whoever waits for the connection; without a listener they would end the process as well.
  pool.on("error", () => {});
  return pool;
}

type Connection = Parameters<NonNullable<sql.config["beforeConnect"]>>[0];

/**
 * The driver's login error says only ELOGIN: adds the server's error number, which tells why. Of several the first: a database that
 * can't be opened is 4060 and then 18456, which any failed login is.
 */
function keepErrorNumber(connection: Connection): void {
  let number: number | undefined;
  const keep = (message: { number: number }) => {
    number ??= message.number;
  };
  connection.on("errorMessage", keep);
  connection.once("connect", (error) => {
    connection.off("errorMessage", keep);
    if (error) Object.assign(error, { number });
  });
}

/**
 * Marks an aged connection with what the driver sets itself when a socket fails: a query under way goes on, and the check before
 * the next use discards the connection.
 */
function retireAfter(connection: Connection, seconds: number): void {
  const timer = setTimeout(
    () => Object.assign(connection, { hasError: true }),
    Math.min(seconds * 1000, LONGEST_TIMER),
  );
  connection.once("end", () => clearTimeout(timer));
}
