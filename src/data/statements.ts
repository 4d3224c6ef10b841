import type { Params, Queryable, Value } from "./database.ts";
import { columnOf } from "./filters.ts";

/** Running a `read` twice does no harm, and nobody needs what a `deferred` one answers. */
type Kind = "read" | "write" | "deferred";

interface Statement {
  text: string;
  params: Params;
}

/** Runs a statement, which touches `changes` rows. */
export type Execute = (
  text: string,
  params: Params,
  kind: Kind,
) => Promise<{ rows: unknown[]; changes: number }>;

/** What the SQL of the engines does not have in common. */
export interface Dialect {
  /** Follows the ORDER BY; has the parameters `page_skip` and `page_limit`. */
  page: string;
  /** Returns the identity as `id`. */
  insert(table: string, columns: string, values: string, identity: string): string;
  /** A SELECT of `name` and `nullable` (0 or 1) of the columns of the table `@table`. */
  columns: string;
}

/** What stands in a string is no parameter. */
const TOKENS = /'[^']*'|@(\w+)/g;
const IDENTIFIER = /^[A-Za-z_]\w*$/;

export function queryable(dialect: Dialect, execute: Execute): Queryable {
  const all = async <Row>(text: string, params: Params = {}) =>
    (await execute(text, params, "read")).rows as Row[];
  return {
    all,
    first: async <Row>(text: string, params: Params = {}) =>
      (await execute(text, params, "read")).rows[0] as Row | undefined,
    page: (text, params, { skip, limit }) =>
      all(`${text} ${dialect.page}`, { ...params, page_skip: skip, page_limit: limit }),
    async columns(table) {
      const rows = await all<{ name: string; nullable: unknown }>(dialect.columns, { table });
      return new Map(rows.map(({ name, nullable }) => [name, Boolean(nullable)]));
    },
    run: async (text, params = {}) => (await execute(text, params, "write")).changes,
    defer: async (text, params = {}) => void (await execute(text, params, "deferred")),
    async insert(table, params, identity) {
      const names = Object.keys(params);
      // Only code names tables and columns, never a client.
      for (const name of [table, identity, ...names])
        if (!IDENTIFIER.test(name)) throw new TypeError("Not an identifier");
      const columns = names.map(columnOf).join(", ");
      const values = names.map((name) => `@${name}`).join(", ");
      const text = dialect.insert(table, columns, values, identity);
      const { rows } = await execute(text, params, "write");
      return (rows[0] as { id: number }).id;
    },
  };
}

/**
 * Runs `work` with a `tx` that sends one statement at a time, none after a failure or the end of
 * `work`. Settles when none is under way. Throws what `work` threw, else the first failure.
 */
export async function runInTransaction<Result>(
  dialect: Dialect,
  execute: Execute,
  work: (tx: Queryable) => Promise<Result>,
): Promise<Result> {
  let refusal: Error | undefined;
  let last: Promise<unknown> = Promise.resolve();
  const tx = queryable(dialect, (...statement) => {
    const outcome = last.then(() => {
      if (refusal) throw refusal;
      return execute(...statement);
    });
    last = outcome.catch((error) => {
      refusal ??= new Error("An earlier statement of the transaction failed", { cause: error });
    });
    return outcome;
  });
  try {
    const result = await work(tx);
    await last;
    if (refusal) throw refusal.cause;
    return result;
  } finally {
    refusal ??= new Error("The transaction has ended");
    await last;
  }
}

/** Of a statement: the names of its parameters in their order, and it with `?` for each. */
export function parametersOf(text: string) {
  const names: string[] = [];
  const positional = text.replace(TOKENS, (token, name?: string) => {
    if (name === undefined) return token;
    names.push(name);
    return "?";
  });
  return { names, positional };
}

/** One batch of several statements: each one's parameters get names of their own. */
export function batchOf(statements: readonly Statement[]): Statement {
  const params: Record<string, Value> = {};
  const texts = statements.map((statement, at) =>
    statement.text.replace(TOKENS, (token, name?: string) => {
      if (name === undefined) return token;
      params[`${name}_${at}`] = checked(statement.params, name);
      return `${token}_${at}`;
    }),
  );
  return { text: texts.join(";\n"), params };
}

/** A parameter's value. Throws TypeError for one that not every engine gives back as it was. */
export function checked(params: Params, name: string): Value {
  const value = params[name];
  if (isValue(value)) return value;
  throw new TypeError(`@${name} has no value that a database can hold`);
}

function isValue(value: unknown): value is Value {
  if (typeof value === "string" || typeof value === "boolean" || value === null) return true;
  if (!(value instanceof Date)) return Number.isSafeInteger(value);
  return value.getUTCFullYear() >= 1 && value.getUTCFullYear() <= 9999;
}
