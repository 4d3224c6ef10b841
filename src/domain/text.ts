import * as v from "valibot";

/** Text that both databases store unchanged. */
export const text = v.pipe(
  v.string(),
  v.check(
    (value) => value.isWellFormed() && !value.includes("\0"),
    "Must be well-formed Unicode text without NUL",
  ),
);

/** Text that others read: without the embeddings, overrides and isolates of UAX #9. */
const readable = v.pipe(
  text,
  v.check(
    (value) => !/[\u202a-\u202e\u2066-\u2069]/.test(value),
    "Must not contain bidirectional overrides",
  ),
);

/** Readable text without control characters. */
export const line = v.pipe(
  readable,
  v.check((value) => !/\p{Cc}/u.test(value), "Must not contain control characters"),
);

/** The name of somebody or something: a line with more than blanks, marks and what is invisible. */
export const name = v.pipe(
  line,
  v.regex(/[^\p{Z}\p{C}\p{M}\p{Default_Ignorable_Code_Point}\u2800]/u, "Must be visible"),
);

/** Null, or at most 4,000 UTF-16 code units. */
export const description = v.nullable(v.pipe(readable, v.maxLength(4000)));

/**
 * An object with these fields and no other. valibot asks `key in entries`, so the entries get no
 * prototype: `constructor` is an unknown field too.
 */
export function fields<Entries extends v.ObjectEntries>(entries: Entries) {
  return v.strictObject(Object.assign(Object.create(null), entries) as Entries);
}
