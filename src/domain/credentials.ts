import * as v from "valibot";
import { line, text } from "./text.ts";

/** 6 to 60 characters after trimming, in NFKC; the column holds 100 UTF-16 code units. */
export const fullName = v.pipe(
  text,
  v.normalize("NFKC"),
  v.trim(),
  line,
  v.minCodePoints(6),
  v.maxCodePoints(60),
  v.maxLength(100),
);

// RFC 5321 §4.1.2: a Dot-string, and a domain of at least two labels.
const ATOM = "[a-z0-9!#$%&'*+/=?^_`{|}~-]+";
const LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const TOP_LABEL = "[a-z](?:[a-z0-9-]{0,61}[a-z0-9])";
const EMAIL = new RegExp(`^${ATOM}(?:\\.${ATOM})*@(?:${LABEL}\\.)+${TOP_LABEL}$`, "i");

/** An ASCII address of at most 50 characters, in lower case. */
export const email = v.pipe(
  text,
  v.trim(),
  v.maxLength(50),
  v.regex(EMAIL, "Must be a valid e-mail address in ASCII"),
  v.toLowerCase(),
);

/** 3 to 20 letters, digits, `_`, `.` or `-`, in any script, in NFKC, none of them invisible. */
export const username = v.pipe(
  text,
  v.normalize("NFKC"),
  line,
  v.regex(
    /^[[\p{L}\p{M}\p{Nd}_.\-]--\p{Default_Ignorable_Code_Point}]{3,20}$/v,
    "Must be 3 to 20 letters, digits, '_', '.' or '-'",
  ),
);

/** A new password: 8 to 64 characters, a digit and a symbol among them. bcrypt reads 72 bytes. */
export const password = v.pipe(
  text,
  v.minCodePoints(8),
  v.maxCodePoints(64),
  v.regex(/\p{Nd}/u, "Must contain at least one digit"),
  v.regex(/[^\p{L}\p{M}\p{N}]/u, "Must contain at least one non-alphanumeric character"),
  v.maxBytes(72, "Must be at most 72 bytes in UTF-8"),
);

/** `john@example.com` → `john_example`, cut to fit, with a number other than 0 at its end. */
export function usernameFromEmail(address: string, number: number): string {
  const [local = "", domain = ""] = address.split("@");
  const base = `${local}_${domain.split(".")[0]}`.replace(/[^a-z0-9_.-]/g, "_");
  const suffix = number === 0 ? "" : String(number);
  return base.slice(0, 20 - suffix.length) + suffix;
}
