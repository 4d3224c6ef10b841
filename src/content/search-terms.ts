import type { SearchTerm } from "./content-store.ts";
import { fold } from "./fold.ts";

/** More are not looked at. */
const MAX_TERMS = 12;
/** Further ones are whole words: for a prefix an engine reads every word that it begins. */
const MAX_PREFIXES = 2;

/** As keyboards and word processors write them, in both scripts. */
const QUOTES = /["“”„«»]/;
/** At the end of a word or a phrase. One letter begins too much. */
const PREFIX = /[\p{L}\p{N}\p{M}]{2}\*+$/u;

/**
 * What somebody typed into a search box: words, `"phrases"`, prefixes as in `invo*`. A word with
 * punctuation inside is the phrase of its parts. Nothing else has a meaning, and nothing is a
 * fault. None when it has no letter and no digit.
 */
export function parseSearch(q: string): SearchTerm[] {
  const parts = q.split(QUOTES);
  const runs = parts.flatMap((part, at) => (at % 2 ? [part.trim()] : part.split(/\s+/)));
  let prefixes = 0;
  return runs
    .map((run) => ({
      words: fold(run).trim().split(" "),
      isPrefix: PREFIX.test(run) && ++prefixes <= MAX_PREFIXES,
    }))
    .filter(({ words }) => words[0] !== "")
    .slice(0, MAX_TERMS);
}

/** What a folded text has where it has the term: a space before each word, and after the last. */
export function needleOf({ words, isPrefix }: SearchTerm): string {
  return ` ${words.join(" ")}${isPrefix ? "" : " "}`;
}
