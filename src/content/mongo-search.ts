import type { Document, Filter, IndexDescription } from "mongodb";
import type { ExtractedText, SearchTerm } from "./content-store.ts";
import { fold } from "./fold.ts";
import { needleOf } from "./search-terms.ts";

/** Later words are not found. In UTF-16 units, of up to 3 bytes. */
const MAX_FOLDED_LENGTH = 1_000_000;
/** For both texts, as a document may have 16 MiB (mongodb.com, limits). */
const MAX_TEXT_BYTES = 15_000_000;
const NOBODY = 0;

/**
 * In a field of our own, which workers leave alone: the owner, file name and text folded, each on a
 * line, and the text's time then. Where the two times differ somebody has written another since.
 */
export type StoredText = ExtractedText & {
  nassaq?: { owner_id: number; folded?: string; processed_at?: unknown };
};

/** One text index a collection. No word has a language, whatever other fields a document has. */
const NO_LANGUAGE = { default_language: "none", language_override: "nassaq_language" };
export const SEARCH_INDEXES: IndexDescription[] = [
  { key: { "nassaq.folded": "text" }, ...NO_LANGUAGE },
  { key: { "nassaq.owner_id": 1 } },
  { key: { processed_at: 1 } },
];

/** Text of a field that a worker wrote half or otherwise. */
export const textIn = (field: unknown) => (typeof field === "string" ? field : "");

/** Of what no search may find. */
export const NOT_FOUND = { owner_id: NOBODY };

/** Without an owner no search finds the text. */
export function searchFields(text: StoredText, ownerId: number | undefined) {
  if (ownerId === undefined) return NOT_FOUND;
  const original = textIn(text.extracted_text);
  // For the file name at least.
  const room = Math.max(1_000, (MAX_TEXT_BYTES - Buffer.byteLength(original)) / 3);
  const length = Math.min(MAX_FOLDED_LENGTH, room);
  const folded = `${fold(textIn(text.filename))}\n${fold(original.slice(0, length))}`;
  const { processed_at } = text;
  return { owner_id: ownerId, folded: folded.slice(0, length), processed_at };
}

/** MongoDB tells a missing field from null. */
const WRITTEN = { $ifNull: ["$processed_at", null] };
const FOLDED = { $ifNull: ["$nassaq.processed_at", null] };

/** Texts of documents, which have numbers, that were never folded. */
export const NEVER_FOLDED: Filter<StoredText> = { doc_id: { $gt: 0 }, "nassaq.owner_id": null };

/** Texts that were replaced after they were folded, not before `since` if they have a date. */
export function foldedBefore(since: Date): Filter<StoredText> {
  return {
    processed_at: { $not: { $lt: since } },
    "nassaq.owner_id": { $gt: NOBODY },
    $expr: { $ne: [WRITTEN, FOLDED] },
  };
}

/**
 * The texts with every term, those of `ownerId` or everybody's. `$text` finds by the index what
 * has any of the words; regular expressions, which folded words can't disturb, decide. The engine's
 * score goes by a document's own words; a prefix has none.
 */
export function matching(terms: readonly SearchTerm[], ownerId: number | undefined) {
  const words = terms.flatMap(({ words, isPrefix }) => (isPrefix ? words.slice(0, -1) : words));
  const hasWords = words.length > 0;
  const filter: Filter<StoredText> = {
    ...(hasWords && { $text: { $search: words.join(" ") } }),
    "nassaq.owner_id": ownerId ?? { $gt: NOBODY },
    $and: terms.map((term) => ({ "nassaq.folded": { $regex: needleOf(term) } })),
    $expr: { $eq: [WRITTEN, FOLDED] },
  };
  const score: Document = hasWords ? { score: { $meta: "textScore" } } : {};
  return { filter, score };
}
