import type { Params, Queryable } from "./database.ts";

/** `docId` is the column `doc_id`. */
export const columnOf = (name: string) =>
  name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** The list of a SELECT that gets columns of the table `alias` under these names. */
export const columns = (alias: string, names: string) =>
  Array.from(names.matchAll(/\w+/g), ([name]) => `${alias}.${columnOf(name)} AS ${name}`).join(
    ", ",
  );

/**
 * The WHERE of a list: of `conditions` those whose value is not undefined, joined by AND. Both go
 * by the name of the parameter.
 */
export function filters<Values extends object>(
  values: Values,
  conditions: Readonly<Record<keyof Values & string, string>>,
): { where: string; params: Params } {
  const names = Object.keys(conditions) as (keyof Values & string)[];
  const present = names.filter((name) => values[name] !== undefined);
  const where = present.map((name) => conditions[name]).join(" AND ");
  return { where: where && `WHERE ${where}`, params: { ...values } as Params };
}

/** How many rows `from` has, a FROM with its WHERE. */
export async function count(q: Queryable, from: string, params: Params): Promise<number> {
  const row = await q.first<{ total: number }>(`SELECT COUNT(*) AS total ${from}`, params);
  return row?.total ?? 0;
}

/** The SET of an UPDATE, of at least one column. */
export function assignments(changes: object): string {
  const columns = Object.keys(changes).map((column) => `${column} = @${column}`);
  return `SET ${columns.join(", ")}`;
}

/** A list for IN, with its parameters; each number of values is a statement of its own. */
export function inList(values: readonly number[]): { list: string; params: Params } {
  const entries = values.map((value, at) => [`in${at}`, value] as const);
  const list = `(${entries.map(([name]) => `@${name}`).join(", ")})`;
  return { list, params: Object.fromEntries(entries) };
}
