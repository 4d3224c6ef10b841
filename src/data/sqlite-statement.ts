import type { DatabaseSync } from "node:sqlite";
import type { Params } from "./database.ts";
import { checked, parametersOf } from "./statements.ts";

/** Prepares a statement once. Rows are plain objects. */
export function compile(connection: DatabaseSync, text: string) {
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
  if (/^DATETIME/i.test(type ?? "")) return (value: unknown) => new Date(String(value));
  return undefined;
}

/** Numbers go in as BigInt: node:sqlite binds a plain number as a floating-point one. */
function toSqlite(params: Params, name: string): string | bigint | null {
  const value = checked(params, name);
  if (typeof value === "number") return BigInt(value);
  if (typeof value === "boolean") return value ? 1n : 0n;
  return value instanceof Date ? value.toISOString() : value;
}
