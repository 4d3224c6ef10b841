import type { Params, Value } from "./database.ts";

/** Optional conditions of a list, joined by AND. An entry whose value is undefined is left out. */
export function filters(
  entries: readonly (readonly [condition: string, name: string, value: Value | undefined])[],
): {
  where: string;
  params: Params;
} {
  const present = entries.filter(([, , value]) => value !== undefined);
  return {
    where:
      present.length === 0 ? "" : `WHERE ${present.map(([condition]) => condition).join(" AND ")}`,
    params: Object.fromEntries(present.map(([, name, value]) => [name, value as Value])),
  };
}

/** `SET` list and parameters of an UPDATE that changes the given columns. Column names come from code only. */
export function assignments(columns: Params): { set: string; params: Params } {
  return {
    set: Object.keys(columns)
      .map((column) => `${column} = @${column}`)
      .join(", "),
    params: columns,
  };
}
