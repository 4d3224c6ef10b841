import type { AppError } from "../errors.ts";
import { parseMediaType, parseParameterised } from "./headers.ts";
import { readUtf8 } from "./incoming.ts";
import { invalid } from "./validate.ts";

export interface Part {
  name: string;
  /** Undefined when the part is no file. */
  filename: string | undefined;
  contentType: string;
  /** What nobody reads of it is skipped. */
  content: AsyncGenerator<Buffer>;
}

const MAX_HEADER_BYTES = 16 * 1024;
const END_OF_HEADERS = Buffer.from("\r\n\r\n");
const HEADER_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n]*)$/;
/** What the column of the type holds. */
const PRINTABLE = /^[\x20-\x7e]{1,100}$/;

/** The parts of a multipart body (RFC 2046 §5.1), in constant memory. 422 when malformed. */
export async function* readParts(
  chunks: AsyncIterator<Buffer>,
  boundary: string,
): AsyncGenerator<Part> {
  const delimiter = Buffer.from(`\r\n--${boundary}`);
  /** Not handed on yet. The line break of the first delimiter may be missing. */
  let rest: Buffer = Buffer.from("\r\n");

  async function pull(): Promise<void> {
    const { done, value } = await chunks.next();
    if (done) throw malformed("The form ends before its closing boundary");
    rest = rest.length === 0 ? value : Buffer.concat([rest, value]);
  }

  /** All that comes before `pattern`, with which the rest then begins. */
  async function* until(pattern: Buffer): AsyncGenerator<Buffer> {
    for (;;) {
      const found = rest.indexOf(pattern);
      const end = found < 0 ? partialMatch(rest, pattern) : found;
      const piece = rest.subarray(0, end);
      rest = rest.subarray(end);
      if (end > 0) yield piece;
      if (found >= 0) return;
      await pull();
    }
  }

  for (;;) {
    for await (const _skipped of until(delimiter));
    while (rest.length < delimiter.length + 2) await pull();
    rest = rest.subarray(delimiter.length);
    if (rest.toString("latin1", 0, 2) === "--") break;
    const tooLong = () => malformed("A part of the form has too long headers");
    const block = await readUtf8(until(END_OF_HEADERS), MAX_HEADER_BYTES, tooLong);
    rest = rest.subarray(END_OF_HEADERS.length);
    yield { ...parseHeaders(block), content: until(delimiter) };
  }
  // What follows the closing delimiter has no meaning.
  while (!(await chunks.next()).done);
}

/** Where `text` ends with the beginning of `pattern`; its length when it does not. */
function partialMatch(text: Buffer, pattern: Buffer): number {
  let start = Math.max(0, text.length - pattern.length + 1);
  while (text.compare(pattern, 0, text.length - start, start) !== 0) start += 1;
  return start;
}

function malformed(msg: string): AppError {
  return invalid("multipart_invalid", ["body"], msg);
}

/** What a part says of itself (RFC 7578 §4). */
function parseHeaders(block = ""): Omit<Part, "content"> {
  // The delimiter may be padded (RFC 2046 §5.1.1).
  const [padding, ...lines] = block.split("\r\n");
  let isGood = padding?.trim() === "";
  const headers = new Map<string, string>();
  for (const line of lines) {
    const [, field = "", value = ""] = HEADER_LINE.exec(line) ?? [];
    const name = field.toLowerCase();
    // Other fields have no meaning (RFC 7578 §4.8).
    isGood &&= name !== "" && !(name.startsWith("content-") && headers.has(name));
    headers.set(name, value.trim());
  }
  isGood &&= /^(7bit|8bit|binary)$/i.test(headers.get("content-transfer-encoding") ?? "binary");
  const disposition = parseParameterised(headers.get("content-disposition") ?? "");
  const parameter = (key: string) => disposition?.parameters.get(key);
  const name = unescapeName(parameter("name"));
  if (!isGood || disposition?.value !== "form-data" || name === undefined)
    throw malformed("A part of the form has malformed headers");
  const type = headers.get("content-type") ?? "";
  return {
    name,
    filename: extendedName(parameter("filename*")) ?? unescapeName(parameter("filename")),
    contentType: PRINTABLE.test(type) && parseMediaType(type) ? type : "application/octet-stream",
  };
}

/** A name by RFC 8187: .NET sends it beside an unreadable `filename`. */
function extendedName(value = ""): string | undefined {
  const [, encoded] = /^utf-8'[^']*'(.*)$/i.exec(value) ?? [];
  try {
    return encoded && decodeURIComponent(encoded);
  } catch {
    return undefined;
  }
}

/** Undoes browsers' escapes (HTML standard, §4.10.21.7). */
function unescapeName(text: string | undefined): string | undefined {
  return text?.replace(/%(22|0D|0A)/gi, (sequence) => decodeURIComponent(sequence));
}
