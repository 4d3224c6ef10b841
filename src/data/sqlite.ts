import { closeSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync, type SQLOutputValue, type StatementSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { unavailable } from "../errors.ts";
import type { Logger } from "../log.ts";
import {
  type Database,
  DatabaseUnreachable,
  ForeignKeyViolation,
  type Params,
  type Queryable,
  UniqueViolation,
  type Value,
} from "./database.ts";
import { migrate, pendingMigrations } from "./migrations/run.ts";
import { bindable, identifier, insertLists, parameterNames, windowParams } from "./parameters.ts";
import { createTransactionScope } from "./transaction-scope.ts";

/** How long a statement waits for another process that is writing, in ms; a migration may keep others waiting longer. */
const LOCK_WAIT = 5_000;
const MIGRATION_LOCK_WAIT = 60_000;
const MAX_CACHED_STATEMENTS = 200;

/** Result codes, https://www.sqlite.org/rescode.html; the extended ones say which constraint it was. */
const SQLITE_BUSY = 5;
const UNIQUE_CODES = new Set([1555, 2067, 2579]);
const FOREIGN_KEY_CODES = new Set([787, 1811]);
/** BUSY, LOCKED, NOMEM, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, PROTOCOL, NOTADB. */
const UNAVAILABLE_CODES = new Set([5, 6, 7, 8, 10, 11, 13, 14, 15, 26]);

type Row = Record<string, unknown>;

interface Prepared {
  statement: StatementSync;
  names: readonly string[];
  toRow: (raw: Record<string, SQLOutputValue>) => Row;
}

/**
 * The embedded engine: one file (or `:memory:`), one connection on which statements and transactions take turns, so that
 * no statement of another request falls into a transaction. Throws `DatabaseUnreachable` when the file can't be opened.
 */
export function openSqlite(options: { file: string; log?: Logger }): Database {
  const connection = openFile(options.file);
  const scope = createTransactionScope();
  const prepared = new Map<string, Prepared>();
  let tail: Promise<unknown> = Promise.resolve();

  async function inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    scope.assertOutside();
    const result = tail.then(work);
    tail = result.catch(() => {});
    return await result;
  }

  function prepare(sql: string): Prepared {
    const found = prepared.get(sql);
    if (found) {
      prepared.delete(sql);
      prepared.set(sql, found);
      return found;
    }
    const statement = connection.prepare(sql);
    const made = { statement, names: parameterNames(sql), toRow: rowMapper(statement) };
    prepared.set(sql, made);
    const [oldest] = prepared.keys();
    if (prepared.size > MAX_CACHED_STATEMENTS && oldest !== undefined) prepared.delete(oldest);
    return made;
  }

  function execute<Result>(
    sql: string,
    params: Params,
    use: (p: Prepared, values: Record<string, string | bigint | null>) => Result,
  ): Result {
    try {
      const statement = prepare(sql);
      const values = bindable(statement.names, params).map(([name, value]) => [
        name,
        toSqlite(value),
      ]);
      return use(statement, Object.fromEntries(values));
    } catch (error) {
      throw connection.isOpen ? typedError(error) : unavailable("The database", error);
    }
  }

  const statements: Queryable = {
    async all<R>(sql: string, params: Params = {}) {
      return execute(sql, params, (p, values) => p.statement.all(values).map(p.toRow) as R[]);
    },
    async first<R>(sql: string, params: Params = {}) {
      return execute(sql, params, (p, values) => {
        const row = p.statement.get(values);
        return row && (p.toRow(row) as R);
      });
    },
    page: (sql, params, window) =>
      statements.all(`${sql} LIMIT @page_limit OFFSET @page_skip`, {
        ...params,
        ...windowParams(window),
      }),
    async run(sql, params = {}) {
      return execute(sql, params, (p, values) => Number(p.statement.run(values).changes));
    },
    async insert(table, values, identity) {
      const { columns, parameters } = insertLists(values);
      const sql = `INSERT INTO ${identifier(table)} (${columns}) VALUES (${parameters}) RETURNING ${identifier(identity)} AS id`;
      return execute(sql, values, (p, bound) => p.statement.get(bound)?.id as number);
    },
    async columns(table) {
      const rows = await statements.all<{ name: string; notnull: number }>(
        'SELECT name, "notnull" FROM pragma_table_info(@table)',
        { table },
      );
      return new Map(rows.map(({ name, notnull }) => [name, notnull === 0]));
    },
  };

  /** Repeats what another process's lock kept from starting; a statement that was refused with BUSY has done nothing. */
  async function patiently<Result>(
    statement: () => Promise<Result>,
    patience = LOCK_WAIT,
  ): Promise<Result> {
    const deadline = performance.now() + patience;
    for (let attempt = 1; ; attempt++) {
      try {
        return await statement();
      } catch (error) {
        if (!isBusy(error) || performance.now() >= deadline) throw error;
        if (attempt === 1)
          options.log?.info("Waiting for another process that is writing to the database");
        await delay(10 + Math.random() * 20);
      }
    }
  }

  async function transact<Result>(
    work: (tx: Queryable) => Promise<Result>,
    patience?: number,
  ): Promise<Result> {
    await patiently(() => statements.run("BEGIN IMMEDIATE"), patience);
    try {
      const result = await scope.run(statements, work);
      await statements.run("COMMIT");
      return result;
    } finally {
      // Still open: something above threw. Not open after a failure: SQLite has rolled back by itself (disk full).
      if (connection.isOpen && connection.isTransaction) connection.exec("ROLLBACK");
    }
  }

  const database: Database = {
    description: `SQLite (${options.file})`,
    all: (sql, params) => inTurn(() => patiently(() => statements.all(sql, params))),
    first: (sql, params) => inTurn(() => patiently(() => statements.first(sql, params))),
    page: (sql, params, window) =>
      inTurn(() => patiently(() => statements.page(sql, params, window))),
    run: (sql, params) => inTurn(() => patiently(() => statements.run(sql, params))),
    insert: (table, values, identity) =>
      inTurn(() => patiently(() => statements.insert(table, values, identity))),
    columns: (table) => inTurn(() => patiently(() => statements.columns(table))),
    transaction: (work) => inTurn(() => transact(work)),
    migrate: () => migrate("sqlite", (work) => inTurn(() => transact(work, MIGRATION_LOCK_WAIT))),
    pendingMigrations: () => pendingMigrations("sqlite", database),
    ping: async () => void (await database.first("SELECT 1 AS one")),
    close: () =>
      inTurn(async () => {
        if (connection.isOpen) connection.close();
      }),
  };
  return database;
}

/** Closing the last connection checkpoints the write-ahead log into the file. FULL: a commit survives a power cut. */
function openFile(file: string): DatabaseSync {
  try {
    if (file !== ":memory:") {
      mkdirSync(dirname(file), { recursive: true });
      // It holds addresses and password hashes: a new one is its owner's alone.
      closeSync(openSync(file, "a", 0o600));
    }
    const connection = new DatabaseSync(file, {
      timeout: LOCK_WAIT,
      enableForeignKeyConstraints: true,
    });
    // SQL Server's LOWER knows every script; SQLite's own knows ASCII.
    connection.function("lower", { deterministic: true }, (value) =>
      typeof value === "string" ? value.toLowerCase() : value,
    );
    connection.exec(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 20",
    );
    return connection;
  } catch (error) {
    throw new DatabaseUnreachable(
      `The database file ${file} can't be opened: ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  }
}

function resultCode(error: unknown): number | undefined {
  const { errcode } = error as { errcode?: unknown };
  return typeof errcode === "number" ? errcode : undefined;
}

/** The low byte of an extended result code is its primary code. */
function isBusy(error: unknown): boolean {
  const code =
    error instanceof Error && error.cause instanceof Error ? resultCode(error.cause) : undefined;
  return code !== undefined && (code & 0xff) === SQLITE_BUSY;
}

function typedError(error: unknown): unknown {
  const code = resultCode(error);
  if (code === undefined) return error;
  if (UNIQUE_CODES.has(code))
    return new UniqueViolation("A row with this value exists", { cause: error });
  if (FOREIGN_KEY_CODES.has(code))
    return new ForeignKeyViolation("A reference is broken", { cause: error });
  return UNAVAILABLE_CODES.has(code & 0xff) ? unavailable("The database", error) : error;
}

/** Numbers go in as BigInt, because node:sqlite binds a plain number as a floating-point one. */
function toSqlite(value: Value): string | bigint | null {
  if (value instanceof Date) return value.toISOString();
  if (typeof value === "boolean") return value ? 1n : 0n;
  return typeof value === "number" ? BigInt(value) : value;
}

/** Rows have a null prototype and SQLite's own types: copies them, with booleans and dates by declared column type. */
function rowMapper(statement: StatementSync): Prepared["toRow"] {
  const conversions: [string, (value: SQLOutputValue) => unknown][] = [];
  for (const { name, type } of statement.columns()) {
    if (/^BIT\b/i.test(type ?? "")) conversions.push([name, Boolean]);
    if (/^DATETIME/i.test(type ?? "")) conversions.push([name, toDate]);
  }
  return (raw) => {
    const row: Row = { ...raw };
    for (const [name, convert] of conversions) {
      if (row[name] !== null) row[name] = convert(row[name] as SQLOutputValue);
    }
    return row;
  };
}

/** Other programs write SQLite's own form, `2026-01-31 10:20:30`, which is UTC too (https://www.sqlite.org/lang_datefunc.html). */
function toDate(value: SQLOutputValue): Date {
  const text = String(value).replace(" ", "T");
  const date = new Date(/(Z|[+-]\d\d:\d\d)$/.test(text) ? text : `${text}Z`);
  if (Number.isNaN(date.getTime())) throw new TypeError("A DATETIME column holds something else");
  return date;
}
