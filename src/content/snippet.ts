import type { SearchTerm, Snippet } from "./content-store.ts";
import { fold } from "./fold.ts";
import { needleOf } from "./search-terms.ts";

/** In UTF-16 units. */
const SEARCHED_LENGTH = 200_000;
const SNIPPET_LENGTH = 200;
/** How far a cut moves to stand between two words. */
const CUT_MOVES = 30;
/** More hits of one term are not looked at. */
const MAX_HITS = 1_000;

interface Span {
  start: number;
  end: number;
  /** Index of the term. */
  term: number;
}

/**
 * About 200 UTF-16 units of `text` where most terms stand together, white space as single spaces.
 * Marks whole words, a phrase as one, in the first 200,000 units. Without a hit there the beginning
 * without marks.
 */
export function snippetOf(text: string, terms: readonly SearchTerm[]): Snippet {
  const searched = text.slice(0, SEARCHED_LENGTH);
  const hits = findHits(searched, terms);
  const best = bestCluster(hits);
  const first = best[0]?.start ?? 0;
  const last = best.at(-1)?.end ?? 0;
  const spare = Math.max(0, SNIPPET_LENGTH - (last - first));
  const start = best.length === 0 ? 0 : cutBefore(searched, first - (spare >> 1), first);
  const end = cutAfter(searched, start + SNIPPET_LENGTH, Math.min(last, start + SNIPPET_LENGTH));
  return collapse(searched, start, end, hits);
}

/** Sorted by where they start. */
function findHits(text: string, terms: readonly SearchTerm[]): Span[] {
  const offsets: number[] = [];
  const folded = fold(text, offsets);
  const hits: Span[] = [];
  terms.forEach((term, index) => {
    const needle = needleOf(term);
    let at = folded.indexOf(needle);
    for (let count = 0; at >= 0 && count < MAX_HITS; count++) {
      const lastUnit = at + needle.length - 1;
      const end = folded.indexOf(" ", lastUnit);
      hits.push({ start: offsets[at + 1] as number, end: offsets[end] as number, term: index });
      at = folded.indexOf(needle, end);
    }
  });
  return hits.sort((a, b) => a.start - b.start || b.end - a.end);
}

/** The hits within one snippet's length that have most terms, then most hits; the first such. */
function bestCluster(hits: Span[]): Span[] {
  const counts = new Map<number, number>();
  let best = { first: 0, last: -1, terms: 0 };
  let first = 0;
  hits.forEach((hit, last) => {
    counts.set(hit.term, (counts.get(hit.term) ?? 0) + 1);
    for (let out = hits[first]; out && first < last; out = hits[++first]) {
      if (hit.end - out.start <= SNIPPET_LENGTH) break;
      const left = (counts.get(out.term) ?? 0) - 1;
      if (left > 0) counts.set(out.term, left);
      else counts.delete(out.term);
    }
    const more = counts.size - best.terms || last - first - (best.last - best.first);
    if (more > 0) best = { first, last, terms: counts.size };
  });
  return hits.slice(best.first, best.last + 1);
}

/** Where a snippet starts: at `at` or a little later, between words, `limit` at the latest. */
function cutBefore(text: string, at: number, limit: number): number {
  if (at <= 0) return 0;
  const space = text.slice(at - 1, Math.min(at + CUT_MOVES, limit)).search(/\s/);
  return wholeCharacter(text, space < 0 ? at : at + space);
}

/** Where it ends: at `at` or a little earlier, `limit` at the earliest. */
function cutAfter(text: string, at: number, limit: number): number {
  if (at >= text.length) return text.length;
  const from = Math.max(at - CUT_MOVES, limit);
  const tail = text.slice(from, at + 1);
  const space = tail.search(/\s\S*$/);
  return wholeCharacter(text, space < 0 ? at : from + space);
}

/** Not between the two units of a character. */
function wholeCharacter(text: string, at: number): number {
  const isInside = at > 0 && (text.codePointAt(at - 1) ?? 0) > 0xffff;
  return isInside ? at - 1 : at;
}

/** The part of `text` with single spaces, and the hits there. */
function collapse(text: string, start: number, end: number, hits: Span[]): Snippet {
  let output = "";
  /** Where each unit of the part is in the output, and where that ends. */
  const places: number[] = [];
  for (let at = start; at < end; at++) {
    const unit = text[at] as string;
    const isSpace = /[\s\p{Cc}]/u.test(unit);
    if (isSpace && (output === "" || output.endsWith(" "))) places.push(output.length);
    else {
      places.push(output.length);
      output += isSpace ? " " : unit;
    }
  }
  output = output.trimEnd();
  places.push(output.length);
  const marks: Snippet["marks"] = [];
  for (const hit of hits) {
    if (hit.end <= start || hit.start >= end) continue;
    const from = places[Math.max(hit.start, start) - start] as number;
    const to = Math.min(places[Math.min(hit.end, end) - start] as number, output.length);
    const last = marks.at(-1);
    if (last && from < last[1]) last[1] = Math.max(last[1], to);
    else if (from < to) marks.push([from, to]);
  }
  return { text: output, marks };
}
