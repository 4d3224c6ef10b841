import type { SearchTerm, Snippet } from "./content-store.ts";
import { fold } from "./fold.ts";
import { needleOf } from "./search-terms.ts";

/** In UTF-16 units: what most documents have their hits in, and all that is looked at. */
const SEARCHED_LENGTHS = [20_000, 200_000];
const SNIPPET_LENGTH = 200;
/** How far a cut moves to stand between two words. */
const CUT_MOVES = 30;
/** Of a snippet, before its first hit. */
const LEAD_LENGTH = 50;
/** Hits within this length are shown together, whatever the cuts. */
const CLUSTER_LENGTH = SNIPPET_LENGTH - LEAD_LENGTH - CUT_MOVES;
/** More hits of one term are not looked at. */
const MAX_HITS = 1_000;

/** What a cut leaves of a word, or of a character of a longer word. */
const HEAD = /^(?:\S*\s|[\udc00-\udfff])/;
const TAIL = /(?:\s\S*|[\ud800-\udbff])$/;

interface Span {
  start: number;
  end: number;
  term: SearchTerm;
}

const termsOf = (hits: Span[]) => new Set(hits.map(({ term }) => term)).size;

/**
 * At most 200 UTF-16 units of `text` where most terms stand together, white space as single
 * spaces. Marks whole words, a phrase as one. Looks at the first 20,000 units, and at 200,000 when
 * those lack a term; the beginning, without marks, when there is no hit.
 */
export function snippetOf(text: string, terms: readonly SearchTerm[]): Snippet {
  let searched = "";
  let hits: Span[] = [];
  for (const length of SEARCHED_LENGTHS) {
    const beginning = text.slice(0, length).toWellFormed();
    searched = beginning.replace(/[\s\p{Cc}]+/gu, " ").trim();
    hits = findHits(searched, terms);
    if (termsOf(hits) === terms.length || text.length <= length) break;
  }
  let start = Math.max(0, bestPlace(hits) - LEAD_LENGTH);
  let end = Math.min(start + SNIPPET_LENGTH, searched.length);
  if (start > 0) start += HEAD.exec(searched.slice(start, start + CUT_MOVES))?.[0].length ?? 0;
  if (end < searched.length)
    end -= TAIL.exec(searched.slice(end - CUT_MOVES, end))?.[0].length ?? 0;
  const marks: Snippet["marks"] = [];
  for (const hit of hits) {
    if (hit.end <= start || hit.start >= end) continue;
    const from = Math.max(hit.start, start) - start;
    const to = Math.min(hit.end, end) - start;
    const previous = marks.at(-1);
    // Hits that overlap are one mark.
    if (previous && from < previous[1]) previous[1] = Math.max(previous[1], to);
    else marks.push([from, to]);
  }
  return { text: searched.slice(start, end), marks };
}

/** Sorted by where they start, longer ones first. */
function findHits(text: string, terms: readonly SearchTerm[]): Span[] {
  const offsets: number[] = [];
  const folded = fold(text, offsets);
  const hits: Span[] = [];
  for (const term of terms) {
    const needle = needleOf(term);
    let at = folded.indexOf(needle);
    for (let count = 0; at >= 0 && count < MAX_HITS; count++) {
      const end = folded.indexOf(" ", at + needle.length - 1);
      hits.push({ start: offsets[at + 1] as number, end: offsets[end] as number, term });
      at = folded.indexOf(needle, end);
    }
  }
  return hits.sort((a, b) => a.start - b.start || b.end - a.end);
}

/** Where the hits begin that have most terms close together; the first such. */
function bestPlace(hits: Span[]): number {
  let [place, most] = [0, -1];
  const all = termsOf(hits);
  for (const [index, { start }] of hits.entries()) {
    const next = hits.slice(index, index + CLUSTER_LENGTH);
    const found = termsOf(next.filter(({ end }) => end <= start + CLUSTER_LENGTH));
    if (found > most) [place, most] = [start, found];
    if (most === all) break;
  }
  return place;
}
