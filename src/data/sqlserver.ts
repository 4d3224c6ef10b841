import { setTimeout as delay } from "node:timers/promises";
import sql from "mssql";
import { unavailable } from "../errors.ts";
import { withBackoff } from "./backoff.ts";
import { type Database, DatabaseUnreachable, type Params, type Queryable } from "./database.ts";
import { migrate, pendingMigrations } from "./migrations/run.ts";
import { identifier, insertLists, windowParams } from "./parameters.ts";
import { createPool, describe, type SqlServerOptions } from "./sqlserver-connection.ts";
import { commitError, failureOf, typedError } from "./sqlserver-errors.ts";
import { bind, rowsOf } from "./sqlserver-values.ts";
import { createTransactionScope } from "./transaction-scope.ts";

const MAX_REPEATS = 3;
/** After this many ms a failure is final: the client has waited long enough. */
const REPEAT_WINDOW = 20_000;
/** A migration may build an index on a large table, in ms. */
const MIGRATION_TIMEOUT = 600_000;

/**
 * SQL Server, Azure SQL and what speaks like them. Resolves once connected, after as many attempts as `options` allow; then
 * throws `DatabaseUnreachable`, at once when the server refuses the login. A connection lost later heals by itself.
 */
export async function openSqlServer(options: SqlServerOptions): Promise<Database> {
  const pool = createPool(options);
  const scope = createTransactionScope();
  const closing = new AbortController();
  let recovery: Promise<unknown> | undefined;

  /** Connects with the configured waits. Log lines name codes only: no message of the driver, no setting. */
  function patiently(connect: () => Promise<unknown>): Promise<unknown> {
    return withBackoff(
      {
        retries: options.maxRetries,
        base: options.retryDelayBase,
        signal: closing.signal,
        shouldRetry: (error) => failureOf(error) === "unconnected",
        onWait: (attempt, seconds, error) =>
          options.log.warn("The database can't be reached, trying again", {
            attempt,
            of: options.maxRetries,
            delay_seconds: seconds,
            ...reason(error),
          }),
      },
      () =>
        connect().catch((error) => {
          throw typedError(error);
        }),
    );
  }

  function statementsOn(source: { request(): sql.Request }): Queryable {
    async function send(
      text: string,
      params: Params,
    ): Promise<sql.IResult<Record<string, unknown>>> {
      const request = source.request();
      bind(request, text, params);
      try {
        return await request.query<Record<string, unknown>>(text);
      } catch (error) {
        throw typedError(error);
      }
    }
    const statements: Queryable = {
      all: async <Row>(text: string, params: Params = {}) => rowsOf<Row>(await send(text, params)),
      first: async <Row>(text: string, params: Params = {}) =>
        rowsOf<Row>(await send(text, params))[0],
      async page(text, params, window) {
        const bounds = windowParams(window);
        // FETCH NEXT 0 ROWS is an error.
        if (window.limit === 0) return [];
        return await statements.all(pageText(text), { ...params, ...bounds });
      },
      async run(text, params = {}) {
        const { rowsAffected } = await send(text, params);
        return rowsAffected.reduce((sum, rows) => sum + rows, 0);
      },
      async insert(table, values, identity) {
        const [row] = rowsOf<{ id: number }>(
          await send(insertText(table, values, identity), values),
        );
        if (!row) throw new Error("The INSERT returned no identity");
        return Number(row.id);
      },
      async columns(table) {
        const rows = await statements.all<{ name: string; nullable: boolean }>(
          `SELECT c.name AS name, c.is_nullable AS nullable FROM sys.columns c
           WHERE c.object_id = OBJECT_ID(@table, N'U')`,
          { table },
        );
        return new Map(rows.map(({ name, nullable }) => [name, Boolean(nullable)]));
      },
    };
    return statements;
  }

  /** After a failed connect one caller tries again with backoff, and all others wait for it. */
  function recover(): Promise<unknown> {
    recovery ??= patiently(() => pool.request().query("SELECT 1 AS one")).finally(() => {
      recovery = undefined;
    });
    return recovery;
  }

  /** Repeats what is safe to repeat: `lost` ones only when doing them twice is the same as doing them once. */
  async function repeating<Result>(
    idempotent: boolean,
    work: () => Promise<Result>,
  ): Promise<Result> {
    scope.assertOutside();
    const started = performance.now();
    for (let attempt = 1; ; attempt++) {
      try {
        return await work();
      } catch (error) {
        const failure = failureOf(error);
        const repeatable =
          failure === "unconnected" || failure === "undone" || (failure === "lost" && idempotent);
        const late =
          attempt > MAX_REPEATS ||
          performance.now() - started > REPEAT_WINDOW ||
          closing.signal.aborted;
        if (late || !repeatable) throw error;
        if (failure === "unconnected") await recover();
        else await delay(Math.random() * 50 * 2 ** attempt);
      }
    }
  }

  async function transact<Result>(
    work: (tx: Queryable) => Promise<Result>,
    transaction: sql.Transaction,
    prepare?: (transaction: sql.Transaction) => Promise<void>,
  ): Promise<Result> {
    try {
      await transaction.begin(sql.ISOLATION_LEVEL.READ_COMMITTED);
    } catch (error) {
      throw typedError(error);
    }
    let result: Result;
    try {
      await prepare?.(transaction);
      result = await scope.run(statementsOn(transaction), work);
    } catch (error) {
      await rollBack(transaction, error);
      throw error;
    }
    const connection = heldBy(transaction);
    try {
      await transaction.commit();
    } catch (error) {
      connection?.close();
      throw commitError(error);
    }
    return result;
  }

  try {
    await patiently(() => pool.connect());
  } catch (error) {
    const refused = failureOf(error) === "refused";
    const message = refused
      ? "The database refuses the connection"
      : "The database can't be reached";
    throw new DatabaseUnreachable(`${message}: ${describe(options)}`, {
      cause: (error as Error).cause,
      refused,
    });
  }
  const statements = statementsOn(pool);
  const database: Database = {
    description: describe(options),
    all: (text, params) => repeating(true, () => statements.all(text, params)),
    first: (text, params) => repeating(true, () => statements.first(text, params)),
    page: (text, params, window) => repeating(true, () => statements.page(text, params, window)),
    run: (text, params) => repeating(false, () => statements.run(text, params)),
    insert: (table, values, identity) =>
      repeating(false, () => statements.insert(table, values, identity)),
    columns: (table) => repeating(true, () => statements.columns(table)),
    transaction: (work) => repeating(true, () => transact(work, pool.transaction())),
    migrate: () =>
      migrate("sqlserver", (work) =>
        repeating(true, () => {
          const transaction = new TimedTransaction(pool, { requestTimeout: MIGRATION_TIMEOUT });
          return transact(work, transaction, lockMigrations);
        }),
      ),
    pendingMigrations: () => pendingMigrations("sqlserver", database),
    async ping() {
      await statements.first("SELECT 1 AS one");
    },
    async close() {
      closing.abort();
      await pool.close();
    },
  };
  return database;
}

/** A page of the SELECT `text`, which ends with its ORDER BY. */
function pageText(text: string): string {
  return `${text} OFFSET @page_skip ROWS FETCH NEXT @page_limit ROWS ONLY`;
}

/** The name of an OUTPUT column is given explicitly: servers don't agree on what it is otherwise. */
function insertText(table: string, values: Params, identity: string): string {
  const { columns, parameters } = insertLists(values);
  return `INSERT INTO ${identifier(table)} (${columns}) OUTPUT INSERTED.${identifier(identity)} AS id VALUES (${parameters})`;
}

/** The typings lack the constructor's second argument, which the requests of a transaction inherit. */
const TimedTransaction = sql.Transaction as new (
  pool: sql.ConnectionPool,
  overrides: { requestTimeout?: number },
) => sql.Transaction;

/** Waits until no other process migrates; the lock ends with the transaction. Negative results: time-out, deadlock. */
async function lockMigrations(transaction: sql.Transaction): Promise<void> {
  try {
    const { recordset } = await transaction.request().query<{ result: number }>(
      `DECLARE @result INT;
       EXEC @result = sp_getapplock @Resource = N'nassaq_migrations', @LockMode = N'Exclusive',
         @LockOwner = N'Transaction', @LockTimeout = 300000;
       SELECT @result AS result`,
    );
    if ((recordset[0]?.result ?? -1) >= 0) return;
  } catch (error) {
    throw typedError(error);
  }
  throw unavailable("The database", new Error("Another process keeps migrating"));
}

/**
 * The connection goes back to the pool in any case. Where the server can't or doesn't confirm the rollback, it goes back closed:
 * else the open transaction would come with it.
 */
async function rollBack(transaction: sql.Transaction, reason: unknown): Promise<void> {
  const connection = heldBy(transaction);
  if (failureOf(reason) === "lost") connection?.close();
  await transaction.rollback().catch(() => connection?.close());
}

/** The driver has no other way to the connection of a transaction; null once the server has ended the transaction. */
function heldBy(transaction: sql.Transaction): { close(): void } | null | undefined {
  return (transaction as { _acquiredConnection?: { close(): void } | null })._acquiredConnection;
}

/** What an operator needs to know of a failed connect, in codes. */
function reason(error: unknown): { code?: unknown; number?: unknown } {
  const { code, originalError } = ((error as Error).cause ?? {}) as {
    code?: unknown;
    originalError?: { number?: unknown };
  };
  return { code, number: originalError?.number };
}
