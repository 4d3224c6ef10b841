import * as v from "valibot";

/** The embeddings, overrides and isolates of UAX #9: they can make `exe.fdp` read as `pdf.exe`. */
const BIDI_CONTROLS = /[\u202a-\u202e\u2066-\u2069]/;

/** White space, what is never drawn, interlinear annotations, and Braille without dots. */
const INVISIBLE = "[\\p{White_Space}\\p{Default_Ignorable_Code_Point}\ufff9-\ufffb\u2800]";
const ONLY_INVISIBLE = new RegExp(`^${INVISIBLE}+$`, "u");
const LEADING_MARK = new RegExp(`^${INVISIBLE}*\\p{M}`, "u");

/** Text that both databases store unchanged. */
export const text = v.pipe(
  v.string(),
  v.check(
    (value) => value.isWellFormed() && !value.includes("\0"),
    "Must be well-formed Unicode text without NUL",
  ),
);

/** Text that other people read. Empty passes, and so do the joiners of Arabic and of emoji. */
const shown = v.pipe(
  text,
  v.check(
    (value) => !BIDI_CONTROLS.test(value),
    "Must not contain bidirectional overrides, embeddings or isolates",
  ),
  v.check((value) => !ONLY_INVISIBLE.test(value), "Must contain a visible character"),
  v.check((value) => !LEADING_MARK.test(value), "Must not begin with a combining mark"),
);

/** One line that other people read: a name, a segment of a path. */
export const line = v.pipe(
  shown,
  v.check(
    (value) => !/[\p{Cc}\p{Zl}\p{Zp}]/u.test(value),
    "Must not contain control characters or line breaks",
  ),
);

/** What keeps `value` from being a `line`. */
export function lineFault(value: string): string | undefined {
  return v.safeParse(line, value).issues?.[0].message;
}

/** A free description, at most 4,000 UTF-16 code units, or null. It may have several lines. */
export const description = v.nullable(
  v.pipe(
    shown,
    v.maxLength(4000),
    v.check(
      (value) => !/(?![\t\n\r])\p{Cc}/u.test(value),
      "Must not contain control characters but tabs and line breaks",
    ),
  ),
);

/**
 * An object with these fields and no other. valibot asks `key in entries`, so the entries get no
 * prototype: `constructor` is an unknown field too.
 */
export function fields<Entries extends v.ObjectEntries>(entries: Entries) {
  return v.strictObject(Object.assign(Object.create(null), entries) as Entries);
}
