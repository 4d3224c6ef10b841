import type { Window } from "../data/database.ts";

/** What OCR made of one document, as the workers write it into `ocr_results`. */
export interface ExtractedText {
  doc_id: number;
  filename: string;
  file_type: string;
  blob_path: string;
  extracted_text: string;
  ocr: {
    page_count: number;
    word_count: number;
    avg_confidence: number;
    primary_language: string;
    elapsed_seconds: number;
  };
  classification: { category: string; confidence: number } | null;
  processed_at: Date;
}

/** Folded words that stand in a row; the last one may go on where `isPrefix`. */
export interface SearchTerm {
  words: readonly string[];
  isPrefix: boolean;
}

/** `marks` are where the hits are in `text`, in UTF-16 units: first and one after the last. */
export interface Snippet {
  text: string;
  marks: [start: number, end: number][];
}

/** The better, the higher `score`, which depends on this document and the search alone. */
export interface Hit {
  docId: number;
  score: number;
  snippet: Snippet;
}

/** `total` is a lower bound unless `isExact`. */
export interface Hits {
  total: number;
  isExact: boolean;
  hits: Hit[];
}

/** One text a document. Unreachable: the `unavailable` AppError. */
export interface ContentStore {
  /** For the `ready` line, without secrets. */
  readonly description: string;
  /** Returns within seconds whatever answers; it keeps trying by itself. */
  connect(): Promise<void>;
  /**
   * Writes or replaces a text; returns its id there, 36 characters at most. Searches find it at
   * once when its owner is given, else after `index`.
   */
  put(text: ExtractedText, ownerId?: number): Promise<string>;
  get(docId: number): Promise<ExtractedText | undefined>;
  /** Deleting what is not there is fine. */
  delete(docId: number): Promise<void>;
  /**
   * The window of the documents whose text or file name has every term, best first: those of
   * `ownerId`, or everybody's. Throws the `not_implemented` AppError where the store can't search.
   */
  search(terms: readonly SearchTerm[], ownerId: number | undefined, window: Window): Promise<Hits>;
  /** Documents whose text another program wrote, so that no search finds it. */
  listUnindexed(limit: number): Promise<number[]>;
  /** Lets searches find a document's text as it is now. Without an owner nobody's will. */
  index(docId: number, ownerId: number | undefined): Promise<void>;
  /** One round trip; throws when the store does not answer. */
  ping(): Promise<void>;
  close(): Promise<void>;
}
