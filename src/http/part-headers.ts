import { parseMediaType, parseParameterised } from "./header-values.ts";

export interface PartHeaders {
  name: string;
  /** As the client sent it; undefined when the part is no file. */
  filename: string | undefined;
  contentType: string;
}

const DEFAULT_TYPE = "application/octet-stream";
const MAX_TYPE_LENGTH = 100;

/** What a form's part says of itself (RFC 7578 §4), or undefined when that is malformed. Values come as bytes, one a character. */
export function readPartHeaders(
  headers: Readonly<Record<string, readonly string[]>>,
): PartHeaders | undefined {
  const [disposition, ...more] = headers["content-disposition"] ?? [];
  const coding = headers["content-transfer-encoding"]?.at(-1)?.trim() ?? "binary";
  if (disposition === undefined || more.length > 0 || !/^(7bit|8bit|binary)$/i.test(coding))
    return undefined;
  const text = decodeUtf8(disposition);
  const parsed = text === undefined ? undefined : parseParameterised(text);
  if (parsed?.value !== "form-data") return undefined;
  const parameters = new Map(parsed.parameters);
  const name = parameters.get("name");
  if (name === undefined) return undefined;
  const extended = parameters.get("filename*");
  const filename = extended === undefined ? parameters.get("filename") : decodeExtended(extended);
  if (extended !== undefined && filename === undefined) return undefined;
  return {
    name: unescapeName(name),
    filename: extended === undefined && filename !== undefined ? unescapeName(filename) : filename,
    contentType: contentType(headers["content-type"]?.at(-1)?.trim()),
  };
}

/** Undoes the three percent-escapes that browsers make in names (HTML standard, "multipart/form-data encoding algorithm"), no others. */
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

function contentType(value: string | undefined): string {
  const acceptable =
    value !== undefined && value.length <= MAX_TYPE_LENGTH && /^[\x20-\x7e]+$/.test(value);
  return acceptable && parseMediaType(value) ? value : DEFAULT_TYPE;
}
