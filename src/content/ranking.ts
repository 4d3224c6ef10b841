import type { SearchTerm } from "./content-store.ts";
import { needleOf } from "./search-terms.ts";

/** A text of this many UTF-16 units, about a page, is neither short nor long. */
const USUAL_LENGTH = 3_000;
/** How fast more hits of a term stop to matter, and how much the length does: as in BM25. */
const SATURATION = 1.2;
const LENGTH_WEIGHT = 0.5;
/** For a term in the file name, and for all terms one after the other. */
const FILENAME_BONUS = 1.5;
const ADJACENT_BONUS = 1;

/**
 * BM25 of a document, both texts folded, without its weight of rare words: that would tell how
 * many documents of others have them. Each term gives at most 1 for the text.
 */
export function scoreOf(terms: readonly SearchTerm[], filename: string, text: string): number {
  const length = 1 - LENGTH_WEIGHT + (LENGTH_WEIGHT * text.length) / USUAL_LENGTH;
  let score = 0;
  for (const term of terms) {
    const needle = needleOf(term);
    const count = countOf(text, needle);
    score += count / (count + SATURATION * length);
    if (filename.includes(needle)) score += FILENAME_BONUS;
  }
  const words = terms.flatMap((term) => term.words);
  const all = needleOf({ words, isPrefix: terms.at(-1)?.isPrefix === true });
  if (terms.length > 1 && (text.includes(all) || filename.includes(all))) score += ADJACENT_BONUS;
  return Math.round(score * 10_000) / 10_000;
}

function countOf(text: string, needle: string): number {
  let count = 0;
  // The space after a word is also the one before the next.
  for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + needle.length - 1))
    count++;
  return count;
}
