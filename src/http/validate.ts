import * as v from "valibot";
import { AppError, type Issue } from "../errors.ts";

/** A schema whose output is a `T`. */
export type Schema<T> = v.GenericSchema<unknown, T>;

/**
 * What the schema makes of `input`, or 422 with its issues. Without a message of its own an issue
 * has one of its requirement: valibot's repeats the received value.
 */
export function validate<T>(
  schema: Schema<T>,
  input: unknown,
  where: "body" | "query" | "path",
): T {
  // To valibot an array is an object.
  const result = v.safeParse(schema, Array.isArray(input) ? undefined : input, { message });
  if (result.success) return result.output;
  const issues = result.issues.map((issue) => ({
    type: typeOf(issue),
    loc: [where, ...(issue.path ?? []).map(({ key }) => key as string | number)],
    msg: issue.message,
  }));
  throw new AppError("validation_failed", issues);
}

/** A 422 with one issue. */
export function invalid(type: string, loc: Issue["loc"], msg: string): AppError {
  return new AppError("validation_failed", [{ type, loc, msg }]);
}

function typeOf({ type, expected, path }: v.BaseIssue<unknown>): string {
  if (type.includes("object")) {
    if (expected === "never") return "extra_forbidden";
    return path?.at(-1)?.origin === "key" ? "missing" : "object";
  }
  // To clients a length is in characters.
  return type.replace(/_code_points$/, "_length");
}

const MESSAGES: Record<string, string> = {
  extra_forbidden: "Unknown field",
  missing: "Field required",
  object: "Must be an object",
  string: "Must be a string",
  number: "Must be a number",
  boolean: "Must be true or false",
  integer: "Must be a whole number",
  safe_integer: "Must be a whole number",
};

const UNITS: Record<string, string> = { length: " characters", bytes: " bytes in UTF-8" };

function message(issue: v.BaseIssue<unknown>): string {
  const type = typeOf(issue);
  const [bound, quantity = ""] = type.split("_");
  if (bound === "min" || bound === "max") {
    const limit = bound === "min" ? "least" : "most";
    return `Must be at ${limit} ${issue.requirement}${UNITS[quantity] ?? ""}`;
  }
  if (type === "picklist" && issue.expected)
    return `Must be one of ${issue.expected.replace(/[()]/g, "").replaceAll(" | ", ", ")}`;
  return MESSAGES[type] ?? "Has an invalid value";
}
