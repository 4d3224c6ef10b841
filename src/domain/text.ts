import * as v from "valibot";

/** Control characters (Unicode Cc): never part of a name. */
export const CONTROL_CHARACTERS = /\p{Cc}/u;

/** Text that can be stored and sent back unchanged: well-formed Unicode without NUL. */
export const text = v.pipe(
  v.string(),
  v.check(
    (value) => value.isWellFormed() && !value.includes("\0"),
    "Must be well-formed Unicode text without NUL",
  ),
);

/** One line of it: as `text`, without control characters. */
export const line = v.pipe(
  text,
  v.check((value) => !CONTROL_CHARACTERS.test(value), "Must not contain control characters"),
);

/** A free description, at most 4,000 UTF-16 code units, or null. */
export const description = v.nullable(v.pipe(text, v.maxLength(4000)));

/**
 * An object with these fields and no other. The entries get no prototype: valibot asks
 * `key in entries`, and `constructor` or `__proto__` must be as unknown as any other name.
 */
export function fields<Entries extends v.ObjectEntries>(entries: Entries) {
  return v.strictObject(Object.assign(Object.create(null), entries) as Entries);
}
