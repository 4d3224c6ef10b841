import { AppError } from "../errors.ts";
import { lineFault } from "./text.ts";

/** UTF-16 code units: the column is NVARCHAR(255). */
const MAX_LENGTH = 255;

/** Not allowed in XML, in which a blob store lists its keys. */
const UNLISTABLE = /[\ufffe\uffff]/;

/** A document's file name: the last segment of what the client sent, in NFC. 422 for a bad one. */
export function documentName(sent: string): string {
  const name = (sent.split(/[\\/]/).at(-1) ?? "").normalize("NFC");
  const refuse = (type: string, msg: string) => {
    throw new AppError("validation_failed", [{ type, loc: ["body", "file"], msg }]);
  };
  if (name.trim() === "") refuse("missing", "The file has no name");
  if (name === "." || name === "..") refuse("filename", "The file name must not be '.' or '..'");
  if (name.length > MAX_LENGTH)
    refuse("max_length", `The file name has more than ${MAX_LENGTH} characters`);
  const fault = lineFault(name);
  if (fault) refuse("filename", fault);
  if (UNLISTABLE.test(name)) refuse("filename", "Must not contain noncharacters");
  return name;
}

/** The extension in lower case, without the dot; null unless it has 1 to 10 letters and digits. */
export function fileType(filename: string): string | null {
  return /\.([a-z0-9]{1,10})$/i.exec(filename)?.[1]?.toLowerCase() ?? null;
}
