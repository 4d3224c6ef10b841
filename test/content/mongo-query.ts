import { isDeepStrictEqual } from "node:util";

type Doc = Record<string, unknown>;

/**
 * Whether a document is what a filter of the store asks for, after
 * https://www.mongodb.com/docs/manual/reference/mql/query-predicates/: null equals a missing field
 * in a match, but not in an expression. What is not known here throws.
 */
export function matches(doc: Doc, filter: Doc): boolean {
  return Object.entries(filter).every(([name, condition]) => {
    if (name === "$and") return (condition as Doc[]).every((part) => matches(doc, part));
    if (name === "$expr") return evaluate(doc, condition) === true;
    // Any of the words: https://www.mongodb.com/docs/manual/reference/operator/query/text/
    if (name === "$text") return textScore(doc, condition as Doc) > 0;
    if (name.startsWith("$")) throw new Error(`the operator ${name} is not known here`);
    return holds(field(doc, name), condition);
  });
}

function holds(value: unknown, condition: unknown): boolean {
  const operators = isPlain(condition) ? Object.entries(condition) : [["$eq", condition] as const];
  return operators.every(([operator, operand]) => {
    switch (operator) {
      case "$eq":
        return isDeepStrictEqual(value ?? null, operand);
      case "$in":
        return (operand as unknown[]).includes(value);
      case "$not":
        return !holds(value, operand);
      // Only values of the operand's own type compare.
      case "$gt":
        return sameType(value, operand) && (value as number) > (operand as number);
      case "$lt":
        return sameType(value, operand) && order(value, operand) < 0;
      case "$regex":
        return typeof value === "string" && new RegExp(operand as string).test(value);
      default:
        throw new Error(`the operator ${operator} is not known here`);
    }
  });
}

function evaluate(doc: Doc, expression: unknown): unknown {
  if (typeof expression === "string" && expression.startsWith("$"))
    return field(doc, expression.slice(1));
  if (!isPlain(expression)) return expression;
  const [operator, operands] = Object.entries(expression)[0] as [string, unknown[]];
  const values = operands.map((operand) => evaluate(doc, operand));
  switch (operator) {
    case "$eq":
      return isDeepStrictEqual(values[0], values[1]);
    case "$ne":
      return !isDeepStrictEqual(values[0], values[1]);
    case "$ifNull":
      return values.find((value) => value !== null && value !== undefined) ?? null;
    default:
      throw new Error(`the expression ${operator} is not known here`);
  }
}

/** Grows with how often the words stand in the one field that has a text index. */
export function textScore(doc: Doc, text: Doc): number {
  if (Object.keys(text).join() !== "$search") throw new Error("only $search is known here");
  const wanted = new Set(String(text.$search).split(/\s+/));
  if (/["-]/.test(String(text.$search))) throw new Error("only plain words are known here");
  const words = String(field(doc, "nassaq.folded") ?? "").split(/\s+/);
  return words.filter((word) => wanted.has(word)).length / Math.sqrt(words.length);
}

/** Sorted by fields (1 or -1) or `{ $meta: "textScore" }`, best first. */
export function sorted(docs: Doc[], sort: Doc, text: Doc | undefined): Doc[] {
  return docs.toSorted((a, b) => {
    for (const [name, direction] of Object.entries(sort)) {
      const difference = isPlain(direction)
        ? textScore(b, text ?? {}) - textScore(a, text ?? {})
        : order(field(a, name), field(b, name)) * Number(direction);
      if (difference !== 0) return difference;
    }
    return 0;
  });
}

function field(doc: Doc, path: string): unknown {
  return path
    .split(".")
    .reduce<unknown>((value, name) => (value as Doc | undefined | null)?.[name], doc);
}

function order(a: unknown, b: unknown): number {
  const [left, right] = [a, b].map((value) =>
    typeof value === "number" || value instanceof Date ? Number(value) : String(value),
  );
  if (left === right) return 0;
  return (left as number) < (right as number) ? -1 : 1;
}

function sameType(a: unknown, b: unknown): boolean {
  return typeof a === typeof b && (a as object)?.constructor === (b as object)?.constructor;
}

function isPlain(value: unknown): value is Doc {
  return typeof value === "object" && value?.constructor === Object;
}
