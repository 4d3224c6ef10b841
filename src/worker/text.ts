import { isUtf8 } from "node:buffer";
import { Unreadable } from "./limits.ts";

const SAMPLE = 4096;

/** UTF-16 by its mark, or where every other byte is the high one of English (0) or Arabic (6). */
function utf16Of(bytes: Buffer): "utf-16le" | "utf-16be" | undefined {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return "utf-16le";
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return "utf-16be";
  const sample = bytes.subarray(0, SAMPLE);
  const isHigh = (byte: number) => byte === 0 || byte === 6;
  const share = (side: number) =>
    sample.filter((byte, at) => at % 2 === side && isHigh(byte)).length / sample.length;
  if (bytes.length % 2 === 1) return undefined;
  const [even, odd] = [share(0), share(1)];
  if (odd > 0.35 && even < 0.05) return "utf-16le";
  return even > 0.35 && odd < 0.05 ? "utf-16be" : undefined;
}

/** Counts without a list of all matches, which may be millions. */
function count(text: string, pattern: RegExp): number {
  let found = 0;
  for (const _ of text.matchAll(pattern)) found += 1;
  return found;
}

/** Read as Windows-1256, a Western text mixes both scripts in its words; an Arabic one does not. */
function decodeWindows(bytes: Buffer): string {
  const arabic = new TextDecoder("windows-1256").decode(bytes);
  const mixed = count(arabic, /\p{Script=Latin}[\u0600-\u06ff]|[\u0600-\u06ff]\p{Script=Latin}/gu);
  const pure = count(arabic, /[\u0600-\u06ff]{2,}/gu);
  return pure > mixed ? arabic : new TextDecoder("windows-1252").decode(bytes);
}

/** A text file in UTF-8, UTF-16, Windows-1256 or Windows-1252. */
export function readPlainText(bytes: Buffer): string {
  const encoding = utf16Of(bytes) ?? (isUtf8(bytes) ? "utf-8" : undefined);
  const text = encoding ? new TextDecoder(encoding).decode(bytes) : decodeWindows(bytes);
  if (!text.includes("\0")) return text;
  throw new Unreadable(
    "The file looks like a binary file of a kind that isn't read. " +
      "Send a PDF, a PNG, JPEG, TIFF, BMP or WebP image, or a plain text.",
  );
}

export const countLetters = (text: string): number => count(text, /[\p{L}\p{N}]/gu);
// Where a word begins: one of some megabytes is too much for the stack of a match.
export const countWords = (text: string): number =>
  count(text, /(?<![\p{L}\p{N}\p{M}])[\p{L}\p{N}\p{M}]/gu);

export function languageOf(text: string): "ar" | "en" | "und" {
  const arabic = count(text, /\p{Script=Arabic}/gu);
  const latin = count(text, /\p{Script=Latin}/gu);
  if (arabic === 0 && latin === 0) return "und";
  return arabic >= latin ? "ar" : "en";
}

/** Letters instead of shapes of Arabic letters, no control characters, at most one empty line. */
export function tidy(text: string): string {
  return (
    text
      .toWellFormed()
      .replace(/\r\n?|[\f\v\u0085\u2028\u2029]/g, "\n")
      .replace(/[\ufb50-\ufdff\ufe70-\ufefc]+/g, (shapes) => shapes.normalize("NFKC"))
      .replace(/[[\p{Cc}\p{Bidi_Control}\p{Noncharacter_Code_Point}\u00ad\ufeff]--[\t\n]]/gv, "")
      // Begins where a run does: a try at each of its spaces takes hours.
      .replace(/(?<![ \t\u00a0])[ \t\u00a0]+$/gm, "")
      .replace(/\n{3,}/g, "\n\n")
      .replace(/^\n+/, "")
      .trimEnd()
  );
}
