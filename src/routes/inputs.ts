import * as v from "valibot";
import type { Listed } from "../data/database.ts";
import { readParams } from "../http/body.ts";
import type { Request } from "../http/request.ts";

const number = (pattern: RegExp, message: string) =>
  v.pipe(v.string(), v.regex(pattern, message), v.transform(Number), v.safeInteger(message));

/** A positive integer, without sign or leading zeros. */
export const id = number(/^[1-9]\d{0,15}$/, "Must be a positive integer");

/** Reads the id that the path has under this name. */
export function idParam(name: string) {
  const schema = v.object({ [name]: id });
  return (request: Request) => readParams(request, schema)[name] as number;
}

export const docIdOf = idParam("doc_id");

const whole = number(/^(?:0|-?[1-9]\d{0,15})$/, "Must be a whole number");

/** A whole number in a query, from `min` to `max`. */
export const between = (min: number, max: number) =>
  v.pipe(whole, v.minValue(min), v.maxValue(max));

/** The same, or `fallback` when it is absent. */
export const integer = (min: number, max: number, fallback: number) =>
  v.optional(between(min, max), String(fallback));

export const skip = integer(0, Number.MAX_SAFE_INTEGER, 0);

/** `true` or `1`, `false` or `0` in a query, in any case. */
export const flag = v.pipe(
  v.string(),
  v.toLowerCase(),
  v.picklist(["true", "false", "1", "0"], "Must be true or false"),
  v.transform((value) => value === "true" || value === "1"),
);

/** `force` of a query, false unless told. */
export const forced = v.object({ force: v.optional(flag, "false") });

/** `skip` and `limit` of a list: 20 items unless told. */
export function paging(maxLimit: number) {
  return { skip, limit: integer(1, maxLimit, 20) };
}

/** The body of a list; a total that is only a lower bound says so. */
export function listReply<Row>({ rows, total, isExact }: Listed<Row>, item: (row: Row) => object) {
  return { total, ...(!isExact && { total_is_exact: false }), items: rows.map(item) };
}
