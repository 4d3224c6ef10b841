import type { Document, Filter } from "mongodb";
import type { ExtractedText, SearchTerm } from "./content-store.ts";
import { fold } from "./fold.ts";
import { needleOf } from "./search-terms.ts";

/** Later words are not found: server-side limits on documents and text indexes are near. */
const MAX_FOLDED_LENGTH = 1_000_000;
/** In `owner_id`, of what no search may find. */
const NOBODY = 0;

/** What a search needs of a text, in a field of our own, which other workers leave alone. */
export interface SearchFields {
  owner_id: number;
  /** File name and text, folded, each on a line. */
  folded?: string;
  /** The text's when it was folded. The two differ when somebody has written another since. */
  processed_at?: unknown;
}

export type StoredText = ExtractedText & { nassaq?: SearchFields };

export const NOT_FOUND: SearchFields = { owner_id: NOBODY };

/** Also of what a worker wrote half. */
export function searchFields(text: Partial<ExtractedText>, ownerId: number): SearchFields {
  const folded = `${fold(text.filename ?? "")}\n${fold(text.extracted_text ?? "")}`;
  const { processed_at } = text;
  return { owner_id: ownerId, folded: folded.slice(0, MAX_FOLDED_LENGTH), processed_at };
}

/** MongoDB tells a missing field from null. */
const WRITTEN = { $ifNull: ["$processed_at", null] };
const FOLDED = { $ifNull: ["$nassaq.processed_at", null] };

/** Texts that were never folded. */
export const NEVER_FOLDED: Filter<StoredText> = { "nassaq.owner_id": null };
/** Texts that were replaced after they were folded. */
export const FOLDED_BEFORE: Filter<StoredText> = {
  "nassaq.owner_id": { $gt: NOBODY },
  $expr: { $ne: [WRITTEN, FOLDED] },
};

/**
 * The texts with every term, those of `ownerId` or everybody's. `$text` finds by the index what
 * has any of the words; regular expressions, which folded words can't disturb, decide.
 */
export function matching(
  terms: readonly SearchTerm[],
  ownerId: number | undefined,
  stale: number[],
): Filter<StoredText> {
  const words = wholeWords(terms);
  return {
    ...(words.length > 0 && { $text: { $search: words.join(" ") } }),
    "nassaq.owner_id": ownerId ?? { $gt: NOBODY },
    $and: terms.map((term) => ({ "nassaq.folded": { $regex: needleOf(term) } })),
    $expr: { $eq: [WRITTEN, FOLDED] },
    ...(stale.length > 0 && { doc_id: { $nin: stale } }),
  };
}

/** The engine's score, by the words of this document alone; none of a prefix. */
export function scoring(terms: readonly SearchTerm[]): Document {
  return wholeWords(terms).length > 0 ? { score: { $meta: "textScore" } } : {};
}

function wholeWords(terms: readonly SearchTerm[]): string[] {
  return terms.flatMap(({ words, isPrefix }) => (isPrefix ? words.slice(0, -1) : words));
}
