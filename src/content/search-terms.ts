import type { SearchTerm } from "./content-store.ts";
import { fold } from "./fold.ts";

/** More are not looked at. */
const MAX_TERMS = 12;
/** Further ones are whole words: for a prefix an engine reads every word that it begins. */
const MAX_PREFIXES = 2;

/** As keyboards and word processors write them, in both scripts. */
const QUOTES = /[“”„«»]/g;
/** At the end of a word or a phrase. One letter begins too much. */
const PREFIX = /[\p{L}\p{N}\p{M}]{2}\*+$/u;

/**
 * What somebody typed into a search box: words, `"phrases"`, prefixes as in `invo*`. A word with
 * punctuation inside is the phrase of its parts. Nothing else has a meaning, and nothing is a
 * fault. None when it has no letter and no digit.
 */
export function parseSearch(q: string): SearchTerm[] {
  const terms: SearchTerm[] = [];
  let isInside = false;
  let prefixes = 0;
  for (const part of q.replace(QUOTES, '"').split('"')) {
    const runs = isInside ? [part.trim()] : part.split(/\s+/);
    isInside = !isInside;
    for (const run of runs) {
      const words = fold(run).trim().split(" ");
      const isPrefix = PREFIX.test(run) && ++prefixes <= MAX_PREFIXES;
      if (words[0] !== "") terms.push({ words, isPrefix });
    }
  }
  return terms.slice(0, MAX_TERMS);
}

/**
 * What a folded text has where it has the term: words have spaces around them, what a prefix
 * begins goes on.
 */
export function needleOf({ words, isPrefix }: SearchTerm): string {
  return ` ${words.join(" ")}${isPrefix ? "" : " "}`;
}
