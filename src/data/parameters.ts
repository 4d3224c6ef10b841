import type { Params, Value } from "./database.ts";

/** Strings, quoted names and comments are skipped; `@@ROWCOUNT` and its like are no parameters. */
const TOKENS =
  /'(?:[^']|'')*'|"(?:[^"]|"")*"|\[[^\]]*\]|--[^\n]*|\/\*[\s\S]*?\*\/|@@\w+|@(?<name>[A-Za-z_]\w*)/g;

/** The distinct `@parameters` of a statement, without the `@`, in order of appearance. */
export function parameterNames(sql: string): readonly string[] {
  const names = new Set<string>();
  for (const token of sql.matchAll(TOKENS)) {
    if (token.groups?.name !== undefined) names.add(token.groups.name);
  }
  return [...names];
}

/**
 * The value of each parameter in `names`. A TypeError when one is missing or undefined, when `params` has one that the
 * statement doesn't name, and for what no engine could give back as it was: unsafe or fractional numbers, invalid dates.
 */
export function bindable(names: readonly string[], params: Params): [name: string, value: Value][] {
  for (const name of Object.keys(params)) {
    if (!names.includes(name)) throw new TypeError(`The statement has no parameter @${name}`);
  }
  return names.map((name) => {
    if (!Object.hasOwn(params, name)) throw new TypeError(`Parameter @${name} is missing`);
    return [name, checked(name, params[name])];
  });
}

function checked(name: string, value: Value | undefined): Value {
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  if (Number.isSafeInteger(value)) return value as number;
  if (value instanceof Date && value.getUTCFullYear() >= 1 && value.getUTCFullYear() <= 9999)
    return value;
  throw new TypeError(`Parameter @${name} is not a text, boolean, safe integer, date or null`);
}

/** A table or column name as it may stand in a statement; only code names them, never a client. */
export function identifier(name: string): string {
  if (!/^[A-Za-z_]\w*$/.test(name))
    throw new TypeError(`Not an identifier: ${JSON.stringify(name)}`);
  return name;
}

/** Column list and parameter list of an INSERT, for both engines. */
export function insertLists(values: Params): { columns: string; parameters: string } {
  const names = Object.keys(values).map(identifier);
  if (names.length === 0) throw new TypeError("An INSERT needs at least one column");
  return { columns: names.join(", "), parameters: names.map((name) => `@${name}`).join(", ") };
}

/** A page's window as parameters of the statement; a TypeError when it isn't made of whole numbers from 0. */
export function windowParams(window: { skip: number; limit: number }): Params {
  for (const value of [window.skip, window.limit]) {
    if (!Number.isSafeInteger(value) || value < 0)
      throw new TypeError("skip and limit are whole numbers from 0");
  }
  return { page_skip: window.skip, page_limit: window.limit };
}
