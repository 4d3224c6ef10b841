import sql from "mssql";
import type { Params, Value } from "./database.ts";
import { bindable, parameterNames } from "./parameters.ts";

/** The longest NVARCHAR that isn't NVARCHAR(MAX), in UTF-16 code units. */
const LONGEST_NVARCHAR = 4000;

/**
 * Binds the parameters of `text` with SQL Server's types. Throws a TypeError for what can't be bound. `\[` in a
 * pattern is sent as `[[]`, which says the same: some compatible servers find nothing with `\[`.
 */
export function bind(request: sql.Request, text: string, params: Params): void {
  for (const [name, value] of bindable(parameterNames(text), params)) {
    const isPattern = typeof value === "string" && text.includes(`LIKE @${name} ESCAPE`);
    request.input(name, typeOf(value), isPattern ? value.replaceAll("\\[", "[[]") : value);
  }
}

/** Few lengths, so that the server keeps few plans. A null has a type too: NVARCHAR converts to any other. */
function typeOf(value: Value): sql.ISqlType {
  if (typeof value === "number") return sql.BigInt();
  if (typeof value === "boolean") return sql.Bit();
  if (value instanceof Date) return sql.DateTime2(3);
  return sql.NVarChar((value ?? "").length > LONGEST_NVARCHAR ? sql.MAX : LONGEST_NVARCHAR);
}

/** Rows as every engine returns them: the driver reads a BIGINT as text. */
export function rowsOf<Row>(result: sql.IResult<Record<string, unknown>>): Row[] {
  const rows = result.recordset;
  const bigints = Object.values(rows.columns).filter((column) => column.type === sql.BigInt);
  for (const row of rows) {
    for (const { name } of bigints) row[name] = toNumber(row[name]);
  }
  return rows as Row[];
}

function toNumber(value: unknown): number | null {
  if (value === null) return null;
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw new RangeError("A BIGINT is too large for a number");
  return number;
}
