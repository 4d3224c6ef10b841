/** In a statement or a row. Dates are in UTC, to the millisecond. */
export type Value = string | number | boolean | Date | null;
export type Params = Readonly<Record<string, Value>>;

/** At most `limit` (1 or more) rows after the first `skip`. */
export interface Window {
  skip: number;
  limit: number;
}

/** Rows by the integer `key` of `from`, newest first; `joins` only serve the columns. */
export interface List {
  columns: string;
  from: string;
  joins: string;
  /** With its WHERE, or empty. */
  where: string;
  key: string;
  /** Whether an index finds what `where` says, in the order of the list. */
  isIndexed: boolean;
  /** What `where` looks for as a part of a name; an engine may find keys in that index first. */
  part?: { text: string; index: string } | undefined;
}

/** `total` is exact up to 10,000, and beyond that a lower bound unless `isExact`. */
export interface Listed<Row> {
  rows: Row[];
  total: number;
  isExact: boolean;
}

/**
 * Runs statements in the SQL that both engines share, with named `@parameters`. BIT columns come
 * back as booleans, DATETIME and DATETIME2 as `Date`, numbers as numbers. Every method throws
 * `UniqueViolation` or `ForeignKeyViolation` when a constraint says no, and `unavailable` when the
 * engine can't be reached or has no connection free in time.
 */
export interface Queryable {
  all<Row>(sql: string, params?: Params): Promise<Row[]>;
  /** The first row of a SELECT that finds few, or undefined. */
  first<Row>(sql: string, params?: Params): Promise<Row | undefined>;
  /** The rows in the window, of a SELECT that ends with its ORDER BY. */
  page<Row>(sql: string, params: Params, window: Window): Promise<Row[]>;
  /** Runs an INSERT, UPDATE or DELETE; the number of rows it touched. */
  run(sql: string, params?: Params): Promise<number>;
  /**
   * As `run`, where nobody needs the number. In a transaction it may go with the next statement, in
   * one round trip, and fail with that.
   */
  defer(sql: string, params?: Params): Promise<void>;
  /** The new row's `identity`, a column. The value `docId` is the column `doc_id`. */
  insert(table: string, values: Params, identity: string): Promise<number>;
  /** A table's columns, each with whether it may be NULL; none when there is no such table. */
  columns(table: string): Promise<Map<string, boolean>>;
}

export interface Database extends Queryable {
  /** What this is, for the `ready` line, without secrets. */
  readonly description: string;
  /**
   * Commits when `work` returns, rolls back when it throws or a statement fails. After a transient
   * failure `work` runs again, so all its effects go through `tx`. A statement of the database
   * itself would wait for the transaction, and that for it. If not `durable`, `work` is a
   * single statement, whose commit a power cut may undo, but not the death of the process.
   */
  transaction<Result>(
    work: (tx: Queryable) => Promise<Result>,
    options?: { durable?: boolean },
  ): Promise<Result>;
  /** A window of a list. However long the list, nothing else waits for all of it. */
  list<Row>(list: List, params: Params, window: Window): Promise<Listed<Row>>;
  /** Brings the schema up to date, one process at a time; names what ran. */
  migrate(): Promise<string[]>;
  pendingMigrations(): Promise<string[]>;
  /** Connections in use and idle, and who waits for one; only of an engine that has a pool. */
  pool?(): { used: number; idle: number; waiting: number };
  /** One round trip; throws when the database does not answer. */
  ping(): Promise<void>;
  /** Free for rows, where a disk of this machine holds them. */
  freeBytes?(): Promise<number | undefined>;
  close(): Promise<void>;
}

class DatabaseError extends Error {
  override readonly name = this.constructor.name;
}

export class UniqueViolation extends DatabaseError {}

/** A referenced row is missing, or the row is still referenced. */
export class ForeignKeyViolation extends DatabaseError {}

/** The database could not be opened in all attempts, or it refused the login. */
export class DatabaseUnreachable extends DatabaseError {}

/**
 * The `cause` of `unavailable` when the answer to a COMMIT was lost: it may have happened. Look
 * before undoing what belongs to the transaction, or doing it again.
 */
export class OutcomeUnknown extends DatabaseError {}

/** Escapes `text` for `LIKE @pattern ESCAPE '\'`, so that `%`, `_` and `[` mean themselves. */
export function escapeLike(text: string): string {
  return text.replace(/[\\%_[]/g, "\\$&");
}

/** Whether two texts are the same in NFKC and without case, in any script. */
export function sameText(a: string, b: string): boolean {
  return a.normalize("NFKC").toLowerCase() === b.normalize("NFKC").toLowerCase();
}
