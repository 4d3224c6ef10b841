import { parseMediaType, parseParameterised } from "./header-values.ts";
import { decodeUtf8 } from "./incoming.ts";

export interface PartHeaders {
  name: string;
  /** As the client sent it; undefined when the part is no file. */
  filename: string | undefined;
  contentType: string;
}

const DEFAULT_TYPE = "application/octet-stream";
const MAX_TYPE_LENGTH = 100;
const LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):(.*)$/;

/**
 * What a form's part says of itself (RFC 7578 §4), or undefined when that is malformed. `block` is
 * everything between the delimiter and the empty line.
 */
export function parsePartHeaders(block: Buffer): PartHeaders | undefined {
  // The delimiter may be padded (RFC 2046 §5.1.1). Folded lines are RFC 5322 §2.2.3.
  const text = decodeUtf8(block)?.replace(/\r\n[ \t]+/g, " ");
  const [padding, ...lines] = text?.split("\r\n") ?? [];
  if (padding?.trim() !== "") return undefined;
  const headers = new Map<string, string>();
  for (const line of lines) {
    const [, field = "", value = ""] = LINE.exec(line) ?? [];
    const name = field.toLowerCase();
    // Other fields have no meaning (RFC 7578 §4.8).
    if (name === "" || (name.startsWith("content-") && headers.has(name))) return undefined;
    headers.set(name, value.trim());
  }
  if (!/^(7bit|8bit|binary)$/i.test(headers.get("content-transfer-encoding") ?? "binary"))
    return undefined;
  const disposition = parseParameterised(headers.get("content-disposition") ?? "");
  const name = disposition?.parameters.get("name");
  if (disposition?.value !== "form-data" || name === undefined) return undefined;
  const extended = disposition.parameters.get("filename*");
  const plain = disposition.parameters.get("filename");
  const filename = extended === undefined ? plain && unescapeName(plain) : decodeExtended(extended);
  if (extended !== undefined && filename === undefined) return undefined;
  const contentType = acceptableType(headers.get("content-type") ?? "");
  return { name: unescapeName(name), filename, contentType };
}

/** Undoes the escapes of browsers (HTML standard, "multipart/form-data encoding algorithm"). */
function unescapeName(text: string): string {
  return text.replace(/%(22|0D|0A)/gi, (sequence) => decodeURIComponent(sequence));
}

/** `utf-8'language'percent-encoded` (RFC 8187 §3.2.1), as old clients send names. */
function decodeExtended(value: string): string | undefined {
  const [, encoded] = /^utf-8'[^']*'([!#$&+.^_`|~0-9A-Za-z%-]*)$/i.exec(value) ?? [];
  try {
    return encoded === undefined ? undefined : decodeURIComponent(encoded);
  } catch {
    return undefined;
  }
}

function acceptableType(value: string): string {
  const printable = value.length <= MAX_TYPE_LENGTH && /^[\x20-\x7e]+$/.test(value);
  return printable && parseMediaType(value) ? value : DEFAULT_TYPE;
}
