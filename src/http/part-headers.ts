import { parseMediaType, parseParameterised } from "./header-values.ts";

export interface PartHeaders {
  name: string;
  /** As the client sent it; undefined when the part is no file. */
  filename: string | undefined;
  contentType: string;
}

const DEFAULT_TYPE = "application/octet-stream";
const MAX_TYPE_LENGTH = 100;
const HEADER_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):(.*)$/;

/**
 * What a form's part says of itself (RFC 7578 §4), or undefined when that is malformed. `block` is
 * everything between the delimiter and the empty line, a character a byte.
 */
export function parsePartHeaders(block: string): PartHeaders | undefined {
  // The delimiter may be padded (RFC 2046 §5.1.1). Folded lines are RFC 5322 §2.2.3.
  const [padding = "", ...lines] = block.replace(/\r\n[ \t]+/g, " ").split("\r\n");
  if (padding.trim() !== "") return undefined;
  const headers = new Map<string, string>();
  for (const line of lines) {
    const [, field = "", value = ""] = HEADER_LINE.exec(line) ?? [];
    const name = field.toLowerCase();
    // Other fields have no meaning (RFC 7578 §4.8).
    if (name === "" || (name.startsWith("content-") && headers.has(name))) return undefined;
    headers.set(name, value.trim());
  }
  if (!/^(7bit|8bit|binary)$/i.test(headers.get("content-transfer-encoding") ?? "binary"))
    return undefined;
  const disposition = parseParameterised(
    decodeUtf8(headers.get("content-disposition") ?? "") ?? "",
  );
  if (disposition?.value !== "form-data") return undefined;
  const parameters = new Map(disposition.parameters);
  const name = parameters.get("name");
  const plain = parameters.get("filename");
  const extended = parameters.get("filename*");
  const filename = extended === undefined ? plain && unescapeName(plain) : decodeExtended(extended);
  if (name === undefined || (extended !== undefined && filename === undefined)) return undefined;
  const contentType = acceptableType(headers.get("content-type"));
  return { name: unescapeName(name), filename, contentType };
}

/** Undoes the escapes of browsers (HTML standard, "multipart/form-data encoding algorithm"). */
function unescapeName(text: string): string {
  return text.replace(/%(22|0D|0A)/gi, (sequence) => decodeURIComponent(sequence));
}

/** `charset'language'percent-encoded`, as RFC 8187 §3.2.1 has it. */
function decodeExtended(value: string): string | undefined {
  const [, charset = "", encoded = ""] =
    /^([^']*)'[^']*'([!#$&+.^_`|~0-9A-Za-z%-]*)$/.exec(value) ?? [];
  const bytes = encoded.replace(/%([0-9A-Fa-f]{2})/g, (_escape, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  if (/%(?![0-9A-Fa-f]{2})/.test(encoded)) return undefined;
  if (/^iso-8859-1$/i.test(charset)) return bytes;
  return /^utf-8$/i.test(charset) ? decodeUtf8(bytes) : undefined;
}

function decodeUtf8(bytes: string): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
      Buffer.from(bytes, "latin1"),
    );
  } catch {
    return undefined;
  }
}

function acceptableType(value: string | undefined): string {
  const acceptable =
    value !== undefined && value.length <= MAX_TYPE_LENGTH && /^[\x20-\x7e]+$/.test(value);
  return acceptable && parseMediaType(value) ? value : DEFAULT_TYPE;
}
