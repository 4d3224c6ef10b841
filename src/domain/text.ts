import * as v from "valibot";

/** Unicode category Cc. */
export const CONTROL_CHARACTERS = /\p{Cc}/u;

/** Text that both databases store unchanged. */
export const text = v.pipe(
  v.string(),
  v.check(
    (value) => value.isWellFormed() && !value.includes("\0"),
    "Must be well-formed Unicode text without NUL",
  ),
);

/** Text without control characters. */
export const line = v.pipe(
  text,
  v.check((value) => !CONTROL_CHARACTERS.test(value), "Must not contain control characters"),
);

/** Null, or at most 4,000 UTF-16 code units. */
export const description = v.nullable(v.pipe(text, v.maxLength(4000)));

/**
 * An object with these fields and no other. valibot asks `key in entries`, so the entries get no
 * prototype: `constructor` is an unknown field too.
 */
export function fields<Entries extends v.ObjectEntries>(entries: Entries) {
  return v.strictObject(Object.assign(Object.create(null), entries) as Entries);
}
