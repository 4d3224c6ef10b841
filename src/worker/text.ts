import type { Extracted } from "./messages.ts";

const LETTER = /[\p{L}\p{N}]/gu;
const WORD = /[\p{L}\p{N}\p{M}]+/gu;
const ARABIC = /\p{Script=Arabic}/gu;
const LATIN = /\p{Script=Latin}/gu;

/** Counts without a list of all matches, which may be millions. */
function count(text: string, pattern: RegExp): number {
  let found = 0;
  for (const _ of text.matchAll(pattern)) found += 1;
  return found;
}

export const countLetters = (text: string): number => count(text, LETTER);
export const countWords = (text: string): number => count(text, WORD);

/** The language by its script, whichever has more letters. */
export function languageOf(text: string): Extracted["language"] {
  const arabic = count(text, ARABIC);
  const latin = count(text, LATIN);
  if (arabic === 0 && latin === 0) return "und";
  return arabic >= latin ? "ar" : "en";
}

/**
 * The text as a person would have typed it: letters instead of shapes of Arabic letters, no marks
 * that only steer its display, no control characters, no more than one empty line in a row.
 */
export function tidy(text: string): string {
  return text
    .toWellFormed()
    .replace(/\r\n?|[\f\v\u0085\u2028\u2029]/g, "\n")
    .replace(/[\ufb50-\ufdff\ufe70-\ufefc]+/g, (shapes) => shapes.normalize("NFKC"))
    .replace(/[[\p{Cc}\p{Bidi_Control}\p{Noncharacter_Code_Point}\u00ad\ufeff]--[\t\n]]/gv, "")
    .replace(/[ \t\u00a0]+$/gm, "")
    .replace(/\n{3,}/g, "\n\n")
    .replace(/^\n+|\s+$/g, "");
}
