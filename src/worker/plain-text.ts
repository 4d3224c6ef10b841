import { READABLE, Unreadable } from "./unreadable.ts";

/** How many bytes tell whether a text without a mark is UTF-16. */
const SAMPLE = 4096;

/**
 * UTF-16 without a mark, plainly so: every other byte of English is zero and of Arabic six, and
 * the bytes between are neither.
 */
function guessUtf16(bytes: Buffer): "utf-16le" | "utf-16be" | undefined {
  const high = [0, 0];
  const length = Math.min(bytes.length, SAMPLE) & ~1;
  for (let at = 0; at < length; at += 1) {
    if (bytes[at] === 0 || bytes[at] === 6) high[at % 2] = (high[at % 2] ?? 0) + 1;
  }
  const [even = 0, odd = 0] = high;
  if (bytes.length % 2 === 1 || length === 0) return undefined;
  if (odd > length * 0.35 && even < length * 0.05) return "utf-16le";
  if (even > length * 0.35 && odd < length * 0.05) return "utf-16be";
  return undefined;
}

/**
 * Windows-1256 has Arabic letters where Windows-1252 has Western ones. Read as 1256, a Western
 * text mixes both scripts in a word; an Arabic one has words of Arabic alone.
 */
function decodeWindows(bytes: Buffer): string {
  const arabic = new TextDecoder("windows-1256").decode(bytes);
  let pure = 0;
  let mixed = 0;
  for (const [word] of arabic.matchAll(/[\p{L}\p{M}]+/gu)) {
    if (!/[\u0600-\u06ff]/.test(word)) continue;
    if (/\p{Script=Latin}/u.test(word)) mixed += 1;
    else if (word.length > 1) pure += 1;
  }
  return pure > mixed ? arabic : new TextDecoder("windows-1252").decode(bytes);
}

function decode(bytes: Buffer): string {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return new TextDecoder("utf-16le").decode(bytes);
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return new TextDecoder("utf-16be").decode(bytes);
  const utf16 = guessUtf16(bytes);
  if (utf16) return new TextDecoder(utf16).decode(bytes);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return decodeWindows(bytes);
  }
}

/** A text file in UTF-8, UTF-16, Windows-1256 or Windows-1252. */
export function readPlainText(bytes: Buffer): string {
  const text = decode(bytes);
  if (text.includes("\0")) {
    throw new Unreadable(
      `The file looks like a binary file of a kind that isn't read. ${READABLE}`,
    );
  }
  return text;
}
