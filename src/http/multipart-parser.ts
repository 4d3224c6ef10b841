import type { AppError } from "../errors.ts";
import { parseMediaType, parseParameterised } from "./headers.ts";
import { readUtf8 } from "./incoming.ts";
import { invalid } from "./validate.ts";

export interface PartHeaders {
  name: string;
  /** Undefined when the part is no file. */
  filename: string | undefined;
  contentType: string;
}

const MAX_HEADER_BYTES = 16 * 1024;
const END_OF_HEADERS = Buffer.from("\r\n\r\n");
const HEADER_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n]*)$/;
/** What the column of the type holds. */
const PRINTABLE = /^[\x20-\x7e]{1,100}$/;

/** Cuts a multipart body into parts (RFC 2046 §5.1), in constant memory. 422 when malformed. */
export class MultipartParser {
  readonly #chunks: AsyncIterator<Buffer>;
  readonly #delimiter: Buffer;
  /** Not handed on yet. The line break of the first delimiter may be missing. */
  #rest: Buffer = Buffer.from("\r\n");

  constructor(chunks: AsyncIterator<Buffer>, boundary: string) {
    this.#chunks = chunks;
    this.#delimiter = Buffer.from(`\r\n--${boundary}`);
  }

  /** Skips what is left of this part. The next one's headers, or undefined after the last. */
  async nextPart(): Promise<PartHeaders | undefined> {
    for await (const _skipped of this.content());
    const { length } = this.#delimiter;
    while (this.#rest.length < length + 2) await this.#pull();
    this.#rest = this.#rest.subarray(length);
    if (this.#rest.toString("latin1", 0, 2) === "--") {
      // What follows the closing delimiter has no meaning.
      while (!(await this.#chunks.next()).done);
      return undefined;
    }
    const tooLong = () => malformed("A part of the form has too long headers");
    const block = await readUtf8(this.content(END_OF_HEADERS), MAX_HEADER_BYTES, tooLong);
    this.#rest = this.#rest.subarray(END_OF_HEADERS.length);
    return parsePartHeaders(block);
  }

  /** What is left of this part before `pattern`, its end, with which the rest then begins. */
  async *content(pattern = this.#delimiter): AsyncGenerator<Buffer> {
    for (;;) {
      const found = this.#rest.indexOf(pattern);
      const end = found < 0 ? this.#partialMatch(pattern) : found;
      const piece = this.#rest.subarray(0, end);
      this.#rest = this.#rest.subarray(end);
      if (piece.length > 0) yield piece;
      if (found >= 0) return;
      await this.#pull();
    }
  }

  /** Where the rest ends with the beginning of `pattern`; its length when nowhere. */
  #partialMatch(pattern: Buffer): number {
    const rest = this.#rest;
    let start = Math.max(0, rest.length - pattern.length + 1);
    while (rest.compare(pattern, 0, rest.length - start, start) !== 0) start += 1;
    return start;
  }

  async #pull(): Promise<void> {
    const { done, value } = await this.#chunks.next();
    if (done) throw malformed("The form ends before its closing boundary");
    this.#rest = this.#rest.length === 0 ? value : Buffer.concat([this.#rest, value]);
  }
}

function malformed(msg: string): AppError {
  return invalid("multipart_invalid", ["body"], msg);
}

/** What a part says of itself (RFC 7578 §4). */
function parsePartHeaders(block = ""): PartHeaders {
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
