import * as v from "valibot";
import { AppError, type Issue } from "../errors.ts";

type Where = "body" | "query" | "path";

/**
 * What the schema makes of `input`, or `validation_failed` with every issue. Messages are the schema's own or made here from its
 * requirements: valibot's would repeat the received value. A body is an object; an array is none, whatever valibot says.
 */
export function validate<Schema extends v.GenericSchema>(
  schema: Schema,
  input: unknown,
  where: Where,
): v.InferOutput<Schema> {
  if (where === "body" && !isObject(input)) {
    throw new AppError("validation_failed", [
      { type: "object", loc: [where], msg: "Must be an object" },
    ]);
  }
  const result = v.safeParse(schema, input, { message: defaultMessage });
  if (result.success) return result.output;
  const unknown = unknownFields(schema, input).map((name) => extraField([where, name]));
  const issues = result.issues.filter((issue) => unknown.length === 0 || !isTopLevelExtra(issue));
  throw new AppError("validation_failed", [
    ...issues.map((issue) => publicIssue(issue, where)),
    ...unknown,
  ]);
}

function isObject(input: unknown): input is Record<string, unknown> {
  return typeof input === "object" && input !== null && !Array.isArray(input);
}

/** valibot stops at the first unknown field; clients want to hear of all. */
function unknownFields(schema: v.GenericSchema, input: unknown): string[] {
  if (schema.type !== "strict_object" || !isObject(input)) return [];
  const { entries } = schema as unknown as { entries: object };
  return Object.keys(input).filter((name) => !Object.hasOwn(entries, name));
}

function isExtra(issue: v.BaseIssue<unknown>): boolean {
  return issue.type === "strict_object" && issue.expected === "never";
}

function isTopLevelExtra(issue: v.BaseIssue<unknown>): boolean {
  return isExtra(issue) && issue.path?.length === 1;
}

function isMissing(issue: v.BaseIssue<unknown>): boolean {
  return (
    issue.expected !== "never" &&
    issue.type.includes("object") &&
    issue.path?.at(-1)?.origin === "key"
  );
}

function extraField(loc: Issue["loc"]): Issue {
  return { type: "extra_forbidden", loc, msg: "Unknown field" };
}

function publicIssue(issue: v.BaseIssue<unknown>, where: Where): Issue {
  const loc = [where, ...(issue.path ?? []).map((item) => item.key as string | number)];
  if (isExtra(issue)) return extraField(loc);
  // A length is one in characters to clients, however it is counted.
  const type = issue.type.replace(/_code_points$/, "_length");
  return { type: isMissing(issue) ? "missing" : type, loc, msg: issue.message };
}

const NOUNS: Record<string, string> = {
  string: "a string",
  number: "a number",
  boolean: "true or false",
  array: "a list",
  integer: "a whole number",
  safe_integer: "a whole number",
  email: "an e-mail address",
};

const UNITS: Record<string, string> = {
  length: " characters",
  code: " characters",
  bytes: " bytes in UTF-8",
};

/** The message for an issue whose schema has none of its own: made of the schema's requirements, never of the input. */
function defaultMessage(issue: v.BaseIssue<unknown>): string {
  if (isMissing(issue)) return "Field required";
  if (issue.type in NOUNS) return `Must be ${NOUNS[issue.type]}`;
  if (issue.expected === "Object") return "Must be an object";
  if (issue.type === "picklist" && issue.expected) {
    return `Must be one of ${issue.expected.replace(/[()]/g, "").replaceAll(" | ", ", ")}`;
  }
  const [which, quantity = ""] = issue.type.split("_");
  if (typeof issue.requirement === "number" && (which === "min" || which === "max")) {
    const unit = Array.isArray(issue.input) ? " items" : (UNITS[quantity] ?? "");
    return `Must be at ${which === "min" ? "least" : "most"} ${issue.requirement}${unit}`;
  }
  return "Has an invalid value";
}
