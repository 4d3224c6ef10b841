import * as v from "valibot";
import { AppError } from "../errors.ts";
import { name } from "./text.ts";

/** The last segment of what the client sent, in NFC. The column holds 255 UTF-16 code units. */
const filename = v.pipe(
  v.string(),
  v.transform((sent) => sent.slice(1 + Math.max(sent.lastIndexOf("/"), sent.lastIndexOf("\\")))),
  v.normalize("NFC"),
  name,
  v.check((value) => value !== "." && value !== "..", "Must not be '.' or '..'"),
  v.maxLength(255, "Must be at most 255 characters"),
  // XML has no such characters, and a blob store lists its keys in XML.
  v.check((value) => !/[\ufffe\uffff]/.test(value), "Must not contain noncharacters"),
);

/** The name under which a document is kept. 422 for a bad one. */
export function documentName(sent: string): string {
  const { success, output, issues } = v.safeParse(filename, sent, { abortPipeEarly: true });
  if (success) return output;
  const [{ type, message }] = issues;
  const msg = `The file's name: ${message}`;
  throw new AppError("validation_failed", [{ type, loc: ["body", "file"], msg }]);
}

/** The extension in lower case, without the dot; null unless it has 1 to 10 letters and digits. */
export function fileType(filename: string): string | null {
  return /\.([a-z0-9]{1,10})$/i.exec(filename)?.[1]?.toLowerCase() ?? null;
}
