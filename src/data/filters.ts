import type { Params } from "./database.ts";

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
