import type { Params, Value } from "./database.ts";

/** Optional conditions of a list, joined by AND. One whose value is undefined is left out. */
export function filters(
  entries: readonly (readonly [condition: string, name: string, value: Value | undefined])[],
): { where: string; params: Params } {
  const present = entries.filter(([, , value]) => value !== undefined);
  const conditions = present.map(([condition]) => condition).join(" AND ");
  return {
    where: conditions && `WHERE ${conditions}`,
    params: Object.fromEntries(present.map(([, name, value]) => [name, value as Value])),
  };
}
