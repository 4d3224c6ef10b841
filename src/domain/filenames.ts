import { AppError } from "../errors.ts";
import { CONTROL_CHARACTERS } from "./text.ts";

/** Longest file name, in UTF-16 code units: the column is NVARCHAR(255). */
const MAX_LENGTH = 255;

// Noncharacters that XML, and so a blob store's listing, cannot carry.
const UNLISTABLE = /[\ufffe\uffff]/;

// The embeddings, overrides and isolates of UAX #9: they can make `exe.fdp` read as `pdf.exe`.
const BIDI_CONTROLS = /[\u202a-\u202e\u2066-\u2069]/;

/**
 * The file name under which a document is kept: the last segment of what the client sent, in NFC, any script. Throws
 * `validation_failed` for a name that is empty, `.` or `..`, too long, or that could deceive.
 */
export function documentName(sent: string): string {
  const name = (sent.split(/[\\/]/).at(-1) ?? "").normalize("NFC");
  if (name.trim() === "") throw badName("missing", "The file has no name");
  if (name === "." || name === "..")
    throw badName("filename", "The file name must not be '.' or '..'");
  if (name.length > MAX_LENGTH)
    throw badName("max_length", `The file name has more than ${MAX_LENGTH} characters`);
  if (CONTROL_CHARACTERS.test(name) || BIDI_CONTROLS.test(name)) {
    throw badName("filename", "The file name has a control or a bidirectional-override character");
  }
  if (!name.isWellFormed() || UNLISTABLE.test(name)) {
    throw badName("filename", "The file name is not well-formed Unicode text");
  }
  return name;
}

/** The extension in lower case, without the dot; null when it is no plain one of at most 10 characters. */
export function fileType(filename: string): string | null {
  return /\.([a-z0-9]{1,10})$/i.exec(filename)?.[1]?.toLowerCase() ?? null;
}

function badName(type: string, msg: string): AppError {
  return new AppError("validation_failed", [{ type, loc: ["body", "file"], msg }]);
}
