import { setTimeout as delay } from "node:timers/promises";
import sql from "mssql";
import { unavailable } from "../errors.ts";
import {
  type Database,
  DatabaseUnreachable,
  OutcomeUnknown,
  type Params,
  type Queryable,
  type Value,
} from "./database.ts";
import { listOnServer } from "./lists.ts";
import { migrate, pendingMigrations } from "./migrations/run.ts";
import { createPool, type SqlServerOptions, TIMEOUTS } from "./sqlserver-connection.ts";
import { errorNumbers, failureOf, typedError } from "./sqlserver-errors.ts";
import {
  batchOf,
  checked,
  type Dialect,
  type Execute,
  parametersOf,
  queryable,
  runInTransaction,
} from "./statements.ts";

/** After this many ms a failed statement is not repeated. */
const REPEAT_WINDOW = 20_000;
/** In ms. A migration may build an index on a large table. */
const MIGRATION_TIMEOUT = 600_000;
/** The longest NVARCHAR that isn't NVARCHAR(MAX), in UTF-16 code units. */
const LONGEST_NVARCHAR = 4000;

const DIALECT: Dialect = {
  page: "OFFSET @page_skip ROWS FETCH NEXT @page_limit ROWS ONLY",
  // Servers don't agree on the name of an OUTPUT column that is not given one.
  insert: (table, columns, values, identity) =>
    `INSERT INTO ${table} (${columns}) OUTPUT INSERTED.${identity} AS id VALUES (${values})`,
  columns: `SELECT c.name AS name, c.is_nullable AS nullable FROM sys.columns c
    WHERE c.object_id = OBJECT_ID(@table, N'U')`,
};

/** With what the typings lack. */
const Transaction = sql.Transaction as unknown as new (
  pool: sql.ConnectionPool,
  overrides?: { requestTimeout: number },
) => sql.Transaction & { _acquiredConnection: { close(): void } | null };

/**
 * SQL Server, Azure SQL and what speaks like them, connected. Throws `DatabaseUnreachable` after as
 * many attempts as `options` allow, at once when the login is refused.
 */
export async function openSqlServer(
  options: SqlServerOptions,
  timeouts = TIMEOUTS,
): Promise<Database> {
  const pool = createPool(options, timeouts);
  const closing = new AbortController();

  /**
   * Tries again: with the configured waits when there was no connection, with jitter after other
   * transient failures. `isIdempotent`: doing it twice is as doing it once.
   */
  async function repeating<Result>(isIdempotent: boolean, work: () => Promise<Result>) {
    const started = performance.now();
    for (let attempt = 1; ; attempt++) {
      try {
        return await work();
      } catch (error) {
        const failure = failureOf(error);
        const isUnconnected = failure === "unconnected";
        const isSafe =
          isUnconnected || failure === "undone" || (failure === "lost" && isIdempotent);
        const isLate = !isUnconnected && performance.now() - started > REPEAT_WINDOW;
        if (!isSafe || isLate || attempt > options.maxRetries) throw error;
        const jitter = Math.random() * 0.05 * 2 ** attempt;
        const seconds = isUnconnected ? options.retryDelayBase ** attempt : jitter;
        if (isUnconnected) logWait(options, attempt, seconds, error);
        await delay(seconds * 1000, undefined, { signal: closing.signal }).catch(() => {
          throw error;
        });
      }
    }
  }

  const { server, port, instance, name } = options;
  const description = `SQL Server (${server}${instance ? `\\${instance}` : `:${port}`}, ${name})`;
  await repeating(true, () => typed(pool.connect())).catch((error: Error) => {
    const reason = failureOf(error) === "refused" ? "refuses the connection" : "can't be reached";
    throw new DatabaseUnreachable(`The database ${reason}: ${description}`, { cause: error.cause });
  });
  const statements = queryable(DIALECT, (text, params, kind) =>
    repeating(kind === "read", () => send(pool, text, params)),
  );
  return {
    ...statements,
    description,
    transaction: (work, { durable = true } = {}) =>
      durable ? repeating(true, () => transact(new Transaction(pool), work)) : work(statements),
    list: listOnServer(statements),
    migrate: () =>
      migrate("sqlserver", (work) =>
        repeating(true, () => {
          const transaction = new Transaction(pool, { requestTimeout: MIGRATION_TIMEOUT });
          return transact(transaction, async (tx) => {
            await lockMigrations(transaction);
            return await work(tx);
          });
        }),
      ),
    pendingMigrations: () => pendingMigrations("sqlserver", statements),
    pool: () => ({ used: pool.borrowed, idle: pool.available, waiting: pool.pending }),
    ping: async () => void (await send(pool, "SELECT 1 AS one")),
    async close() {
      closing.abort();
      await pool.close();
    },
  };
}

/** Codes only: no message of the driver, no setting. */
function logWait(options: SqlServerOptions, attempt: number, seconds: number, error: unknown) {
  const { cause } = error as { cause: sql.MSSQLError };
  options.log.warn("The database can't be reached, trying again", {
    attempt,
    of: options.maxRetries,
    delay_seconds: seconds,
    code: cause.code,
    number: errorNumbers(cause)[0],
  });
}

function typed<Result>(answer: Promise<Result>): Promise<Result> {
  return answer.catch((error) => {
    throw typedError(error);
  });
}

/** Without `params` the text declares its own variables. */
async function send(source: { request(): sql.Request }, text: string, params?: Params) {
  const request = source.request();
  for (const name of params ? new Set(parametersOf(text).names) : []) {
    const value = checked(params ?? {}, name);
    const isPattern = typeof value === "string" && text.includes(`LIKE @${name} ESCAPE`);
    // Some compatible servers find nothing with `\[`.
    request.input(name, typeOf(value), isPattern ? value.replaceAll("\\[", "[[]") : value);
  }
  const { recordset, rowsAffected } = await typed(request.query<Record<string, unknown>>(text));
  // Of a batch the last statement counts.
  if (!recordset) return { rows: [], changes: rowsAffected.at(-1) ?? 0 };
  for (const { name, type } of Object.values(recordset.columns)) {
    // The driver reads a BIGINT as text.
    if (type !== sql.BigInt) continue;
    for (const row of recordset) row[name] = row[name] === null ? null : Number(row[name]);
  }
  return { rows: recordset, changes: recordset.length };
}

/** Few lengths, so that the server keeps few plans. NVARCHAR, for null, converts to any type. */
function typeOf(value: Value): sql.ISqlType {
  if (typeof value === "number") return sql.BigInt();
  if (typeof value === "boolean") return sql.Bit();
  if (value instanceof Date) return sql.DateTime2(3);
  return sql.NVarChar((value ?? "").length > LONGEST_NVARCHAR ? sql.MAX : LONGEST_NVARCHAR);
}

/** Closes a connection that may have kept its transaction, which the pool would lend with it. */
async function transact<Result>(
  transaction: InstanceType<typeof Transaction>,
  work: (tx: Queryable) => Promise<Result>,
): Promise<Result> {
  await typed(transaction.begin());
  const unsent: { text: string; params: Params }[] = [];
  const flush = () => {
    const { text, params } = batchOf(unsent.splice(0));
    return send(transaction, text, params);
  };
  const execute: Execute = async (text, params, kind) => {
    unsent.push({ text, params });
    return kind === "deferred" ? { rows: [], changes: 0 } : flush();
  };
  let result: Result;
  try {
    result = await runInTransaction(DIALECT, execute, work);
    if (unsent.length > 0) await flush();
  } catch (error) {
    const connection = transaction._acquiredConnection;
    if (failureOf(error) === "lost") connection?.close();
    await transaction.rollback().catch(() => connection?.close());
    throw error;
  }
  const connection = transaction._acquiredConnection;
  try {
    await transaction.commit();
    return result;
  } catch (error) {
    connection?.close();
    const cause = new OutcomeUnknown("The commit was not confirmed", { cause: error });
    throw unavailable("The database", cause);
  }
}

/** Waits until no other process migrates. The lock ends with the transaction. */
async function lockMigrations(transaction: sql.Transaction): Promise<void> {
  const text = `DECLARE @result INT;
    EXEC @result = sp_getapplock @Resource = N'nassaq_migrations', @LockMode = N'Exclusive',
      @LockOwner = N'Transaction', @LockTimeout = 300000;
    SELECT @result AS result`;
  const { rows } = await send(transaction, text);
  // Negative after a time-out or a deadlock.
  if ((rows as { result: number }[]).every(({ result }) => result < 0))
    throw unavailable("The database", new Error("Another process keeps migrating"));
}
