import { closeSync, mkdirSync, openSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { unavailable } from "../errors.ts";
import {
  type Database,
  DatabaseUnreachable,
  ForeignKeyViolation,
  type Params,
  UniqueViolation,
} from "./database.ts";
import { listEmbedded } from "./lists.ts";
import { migrate, pendingMigrations } from "./migrations/run.ts";
import { createWriters } from "./sqlite-writers.ts";
import { checked, type Dialect, parametersOf, queryable, runInTransaction } from "./statements.ts";

/** How long a statement waits for another process that writes, in ms. */
const LOCK_WAIT = 10_000;

/** Result codes (https://www.sqlite.org/rescode.html). */
const SQLITE_BUSY = 5;
const UNIQUE_CODES = [1555, 2067, 2579];
const FOREIGN_KEY_CODES = [787, 1811];
/** READONLY, IOERR, FULL. */
const DISK_CODES = [8, 10, 13];
/** BUSY, LOCKED, NOMEM, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, PROTOCOL, NOTADB. */
const UNAVAILABLE_CODES = [SQLITE_BUSY, 6, 7, 8, 10, 11, 13, 14, 15, 26];

/** As `toISOString` has it. */
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

const DIALECT: Dialect = {
  page: "LIMIT @page_limit OFFSET @page_skip",
  insert: (table, columns, values, identity) =>
    `INSERT INTO ${table} (${columns}) VALUES (${values}) RETURNING ${identity} AS id`,
  columns: `SELECT name, 1 - "notnull" AS nullable FROM pragma_table_info(@table)`,
};

/**
 * The embedded engine: one file (or `:memory:`) and one connection, on which statements and
 * transactions take turns. Throws `DatabaseUnreachable` when the file can't be opened; only with
 * `readOnly` must it be there.
 */
export function openSqlite(options: { file: string; readOnly?: boolean }): Database {
  const { file, readOnly = false } = options;
  const connection = openFile(file, readOnly);
  const prepared = new Map<string, ReturnType<typeof compile>>();
  let isDiskFailing = false;

  /**
   * Tries again while another process holds the lock. A BUSY statement has done nothing. `isApart`:
   * it must not fall into a transaction.
   */
  async function execute(text: string, params: Params = {}, isApart = false) {
    let deadline: number | undefined;
    for (;;) {
      try {
        if (isApart && connection.isTransaction) await writers.endOfTransaction();
        const statement = prepared.get(text) ?? compile(connection, text);
        prepared.set(text, statement);
        return statement(params);
      } catch (error) {
        isDiskFailing ||= DISK_CODES.includes(primaryCode(error));
        deadline ??= performance.now() + LOCK_WAIT;
        if (primaryCode(error) !== SQLITE_BUSY || performance.now() > deadline)
          throw typedError(error);
      }
      await delay(10 + Math.random() * 20);
    }
  }

  const writers = createWriters(connection, execute);
  const inTransaction = (text: string, params: Params) => execute(text, params);
  const transaction: Database["transaction"] = (work, { durable = true } = {}) =>
    writers.write(() => runInTransaction(DIALECT, inTransaction, work), durable, !durable);

  /** After a failure of the disk also by a write, until one works. */
  async function ping(): Promise<void> {
    await statements.first("SELECT 1 AS one");
    // Nobody uses that number. To set it is a commit, whatever it was.
    if (isDiskFailing) await statements.run("PRAGMA user_version = 0");
    isDiskFailing = false;
  }

  const statements = queryable(DIALECT, (text, params, kind) =>
    kind === "read"
      ? execute(text, params, true)
      : writers.write(() => execute(text, params), true, true),
  );
  return {
    ...statements,
    description: `SQLite (${file})`,
    transaction,
    list: listEmbedded(statements),
    migrate: () => migrate("sqlite", transaction),
    pendingMigrations: () => pendingMigrations("sqlite", statements),
    ping,
    async freeBytes() {
      if (file === ":memory:") return undefined;
      const { bavail, bsize } = await statfs(dirname(file));
      return bavail * bsize;
    },
    async close() {
      await writers.end();
      if (connection.isOpen) connection.close();
    },
  };
}

function openFile(file: string, readOnly: boolean): DatabaseSync {
  try {
    if (file !== ":memory:" && !readOnly) {
      mkdirSync(dirname(file), { recursive: true });
      // It holds addresses and password hashes: a new one is its owner's alone.
      closeSync(openSync(file, "a", 0o600));
    }
    const connection = new DatabaseSync(file, { timeout: LOCK_WAIT, readOnly });
    // SQL Server's LOWER knows every script; SQLite's own knows ASCII.
    connection.function("lower", { deterministic: true }, (value) =>
      typeof value === "string" ? value.toLowerCase() : value,
    );
    // With FULL a commit survives a power cut.
    if (!readOnly) connection.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    // SQLite's own wait holds the whole process; `execute` waits beside it.
    connection.exec("PRAGMA busy_timeout = 20");
    return connection;
  } catch (error) {
    const message = `The database file ${file} can't be opened: ${(error as Error).message}`;
    throw new DatabaseUnreachable(message, { cause: error });
  }
}

/** Prepares a statement once. Rows are plain objects. */
function compile(connection: DatabaseSync, text: string) {
  const { names, positional } = parametersOf(text);
  const statement = connection.prepare(positional);
  const columns = statement.columns().map(({ name, type }) => [name, conversionOf(type)] as const);
  const bind = (params: Params) => names.map((name) => toSqlite(params, name));
  if (columns.length === 0) {
    // The driver also reads the last row's id, which may be past what a number holds.
    statement.setReadBigInts(true);
    return (params: Params) => {
      const { changes } = statement.run(...bind(params));
      return { rows: [], changes: Number(changes) };
    };
  }
  // The driver's own objects have no prototype, and to copy them costs more than to make them.
  statement.setReturnArrays(true);
  return (params: Params) => {
    const rows = statement.all(...bind(params)).map((values) => {
      const row: Record<string, unknown> = {};
      let at = 0;
      for (const [name, convert] of columns) {
        const value = values[at++];
        row[name] = convert && value !== null ? convert(value) : value;
      }
      return row;
    });
    return { rows, changes: rows.length };
  };
}

/** Of booleans and dates, by the declared type of the column. */
function conversionOf(type: string | null) {
  if (/^BIT\b/i.test(type ?? "")) return Boolean;
  if (/^DATETIME/i.test(type ?? "")) return (value: unknown) => new StoredInstant(String(value));
  return undefined;
}

/** JSON has it as it was read: to spell a Date anew takes longer than to read its row. */
class StoredInstant extends Date {
  readonly #text: string;

  constructor(text: string) {
    super(text);
    this.#text = text;
  }

  override toJSON(): string {
    return INSTANT.test(this.#text) ? this.#text : super.toJSON();
  }
}

/** Numbers go in as BigInt: node:sqlite binds a plain number as a floating-point one. */
function toSqlite(params: Params, name: string): string | bigint | null {
  const value = checked(params, name);
  if (typeof value === "number") return BigInt(value);
  if (typeof value === "boolean") return value ? 1n : 0n;
  return value instanceof Date ? value.toISOString() : value;
}

function typedError(error: unknown): unknown {
  const { errcode = 0, code } = error as { errcode?: number; code?: string };
  if (UNIQUE_CODES.includes(errcode))
    return new UniqueViolation("A row with this value exists", { cause: error });
  if (FOREIGN_KEY_CODES.includes(errcode))
    return new ForeignKeyViolation("A reference is broken", { cause: error });
  const isClosed = code === "ERR_INVALID_STATE";
  if (!isClosed && !UNAVAILABLE_CODES.includes(primaryCode(error))) return error;
  return unavailable("The database", error);
}

/** The low byte of an extended code. */
function primaryCode(error: unknown): number {
  return ((error as { errcode?: number }).errcode ?? 0) & 0xff;
}
