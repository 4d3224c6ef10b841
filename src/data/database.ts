/** What goes into a statement and comes out of a row, the same for every engine. Instants are `Date`, in UTC, to the millisecond. */
export type Value = string | number | boolean | Date | null;
export type Params = Readonly<Record<string, Value>>;

/**
 * Statements in the SQL that both engines share, with named `@parameters`. An `undefined` parameter is a TypeError.
 * Columns declared BIT come back as booleans, DATETIME and DATETIME2 as `Date`, numbers as numbers, integers safe ones.
 * Every method throws `UniqueViolation` or `ForeignKeyViolation` when a constraint says no, and the `unavailable`
 * AppError when the engine can't be reached or has no connection to give in time.
 */
export interface Queryable {
  /** All rows of a SELECT. */
  all<Row>(sql: string, params?: Params): Promise<Row[]>;
  /** The first row of a SELECT, or undefined. */
  first<Row>(sql: string, params?: Params): Promise<Row | undefined>;
  /** Rows `skip` to `skip + limit` of a SELECT that ends with its ORDER BY. */
  page<Row>(sql: string, params: Params, window: { skip: number; limit: number }): Promise<Row[]>;
  /** Runs an INSERT, UPDATE or DELETE; the number of rows it touched. */
  run(sql: string, params?: Params): Promise<number>;
  /** Inserts one row (columns to values) and returns its new identity, the value of the column `identity`. */
  insert(table: string, values: Params, identity: string): Promise<number>;
  /** The columns of a table, each with whether it may be NULL; empty when there is no such table. */
  columns(table: string): Promise<Map<string, boolean>>;
}

/** A relational database. Implementations: `sqlite.ts`, `sqlserver.ts`. */
export interface Database extends Queryable {
  /** What this is, for the `ready` line, without secrets. */
  readonly description: string;
  /**
   * Runs `work` in one transaction: commits when it returns, rolls back when it throws. No statement of another
   * request falls into it. `work` may run again from the start after a transient failure (a deadlock), so all its
   * effects go through `tx`.
   */
  transaction<Result>(work: (tx: Queryable) => Promise<Result>): Promise<Result>;
  /** Brings the schema up to date; returns the names of the migrations that ran. Safe with several processes at once. */
  migrate(): Promise<string[]>;
  /** Names of the migrations that have not run yet. */
  pendingMigrations(): Promise<string[]>;
  /** One round trip; throws when the database does not answer. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** A row with the same unique value exists. */
export class UniqueViolation extends Error {
  override readonly name = "UniqueViolation";
}

/** A referenced row is missing, or the row is still referenced. */
export class ForeignKeyViolation extends Error {
  override readonly name = "ForeignKeyViolation";
}

/**
 * The database could not be opened, however often it was tried. `refused`: it answered, and said no (login failed), so
 * that trying again is useless.
 */
export class DatabaseUnreachable extends Error {
  override readonly name = "DatabaseUnreachable";
  readonly refused: boolean;

  constructor(message: string, options: { cause: unknown; refused?: boolean }) {
    super(message, { cause: options.cause });
    this.refused = options.refused ?? false;
  }
}

/**
 * The `cause` of the `unavailable` AppError when a COMMIT was sent and its answer was lost: the transaction may have
 * happened. Look before undoing what belongs to it, or doing it again.
 */
export class OutcomeUnknown extends Error {
  override readonly name = "OutcomeUnknown";
}

/** Escapes `text` for `LIKE @pattern ESCAPE '\'`, so that `%`, `_` and `[` mean themselves. */
export function escapeLike(text: string): string {
  return text.replace(/[\\%_[]/g, "\\$&");
}

/** Whether two texts are the same in NFKC (Unicode Annex 15) and without case, in any script. */
export function sameText(a: string, b: string): boolean {
  return a.normalize("NFKC").toLowerCase() === b.normalize("NFKC").toLowerCase();
}
