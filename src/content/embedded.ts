import { randomUUID } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Database, Window } from "../data/database.ts";
import type { ContentStore, ExtractedText, Hit, Hits, SearchTerm } from "./content-store.ts";
import { TextIndex } from "./embedded-index.ts";
import { fold } from "./fold.ts";
import { scoreOf } from "./ranking.ts";
import { snippetOf } from "./snippet.ts";

/** `ocr` and `classification` are JSON. */
type Row = Omit<ExtractedText, "ocr" | "classification"> & { ocr: string; classification: string };

/** So many of the newest hits are ranked, by so many UTF-16 units of each; the others follow. */
const RANKED_HITS = 100;
const RANKED_LENGTH = 20_000;
/** Of a text, for its snippet. */
const SHOWN_LENGTH = 200_000;
/** After so many ms of a search other requests have their turn. */
const TURN_MS = 8;

/** Extracted texts in a table of the embedded database, beside their FTS5 index. */
export class EmbeddedContentStore implements ContentStore {
  readonly description = "embedded";
  readonly #database: Database;
  readonly #index: TextIndex;

  constructor(database: Database) {
    this.#database = database;
    this.#index = new TextIndex(database);
  }

  async connect(): Promise<void> {
    await this.#database.transaction(async (tx) => {
      await tx.run(
        `CREATE TABLE IF NOT EXISTS Extracted_Texts (
          doc_id BIGINT NOT NULL PRIMARY KEY, content_id VARCHAR(36) NOT NULL UNIQUE,
          filename NVARCHAR(255) NOT NULL, file_type VARCHAR(10) NOT NULL,
          blob_path NVARCHAR(2000) NOT NULL, extracted_text NVARCHAR(4000) NOT NULL,
          ocr NVARCHAR(4000) NOT NULL, classification NVARCHAR(4000) NOT NULL,
          processed_at DATETIME2(3) NOT NULL
        )`,
      );
      await this.#index.create(tx);
    });
  }

  put(text: ExtractedText, ownerId?: number): Promise<string> {
    return this.#database.transaction(async (tx) => {
      await this.#index.remove(tx, text.doc_id);
      const row = await tx.first<{ content_id: string }>(
        `INSERT OR REPLACE INTO Extracted_Texts (doc_id, content_id, filename, file_type,
           blob_path, extracted_text, ocr, classification, processed_at)
         VALUES (@doc_id, COALESCE((SELECT content_id FROM Extracted_Texts
           WHERE doc_id = @doc_id), @content_id), @filename, @file_type,
           @blob_path, @extracted_text, @ocr, @classification, @processed_at)
         RETURNING content_id`,
        {
          ...text,
          content_id: randomUUID(),
          ocr: JSON.stringify(text.ocr),
          classification: JSON.stringify(text.classification),
        },
      );
      if (ownerId !== undefined) await this.#index.add(tx, text, ownerId);
      return String(row?.content_id);
    });
  }

  async get(docId: number): Promise<ExtractedText | undefined> {
    const row = await this.#database.first<Row>(
      `SELECT doc_id, filename, file_type, blob_path, extracted_text, ocr, classification,
         processed_at FROM Extracted_Texts WHERE doc_id = @doc_id`,
      { doc_id: docId },
    );
    return (
      row && { ...row, ocr: JSON.parse(row.ocr), classification: JSON.parse(row.classification) }
    );
  }

  delete(docId: number): Promise<void> {
    return this.#database.transaction(async (tx) => {
      await this.#index.remove(tx, docId);
      await tx.run("DELETE FROM Extracted_Texts WHERE doc_id = @doc_id", { doc_id: docId });
    });
  }

  /** Lists the newest 10,000. Ranks the newest 100 of these, the others follow by their age. */
  async search(
    terms: readonly SearchTerm[],
    ownerId: number | undefined,
    { skip, limit }: Window,
  ): Promise<Hits> {
    const { docIds, isExact } = await this.#index.find(terms, ownerId);
    const takeTurn = turns();
    await takeTurn();
    const rankedIds = skip < RANKED_HITS ? docIds.slice(0, RANKED_HITS) : [];
    const scores = new Map<number, number>();
    for (const docId of rankedIds) {
      const row = await this.#read(docId, RANKED_LENGTH);
      if (row) scores.set(docId, rank(terms, row));
      await takeTurn();
    }
    const score = (docId: number) => scores.get(docId) ?? 0;
    // Sorting is stable: of equals the newer one stays first.
    rankedIds.sort((a, b) => score(b) - score(a));
    const order = [...rankedIds, ...docIds.slice(rankedIds.length)];
    const hits: Hit[] = [];
    for (const docId of order.slice(skip, skip + limit)) {
      const row = await this.#read(docId, SHOWN_LENGTH);
      // Otherwise it was deleted meanwhile.
      if (row) hits.push({ docId, score: rank(terms, row), snippet: snippetOf(row.text, terms) });
      await takeTurn();
    }
    return { total: docIds.length, isExact, hits };
  }

  #read(docId: number, length: number) {
    return this.#database.first<Beginning>(
      `SELECT filename, substr(extracted_text, 1, @length) AS text
       FROM Extracted_Texts WHERE doc_id = @doc_id`,
      { doc_id: docId, length },
    );
  }

  listUnindexed(limit: number): Promise<number[]> {
    return this.#index.listMissing(limit);
  }

  async ownerOf(docId: number): Promise<number | undefined> {
    const row = await this.#database.first<{ owner_id: number | null }>(
      "SELECT owner_id FROM Extracted_Texts WHERE doc_id = @doc_id",
      { doc_id: docId },
    );
    return row?.owner_id || undefined;
  }

  index(docId: number, ownerId: number | undefined): Promise<void> {
    return this.#database.transaction(async (tx) => {
      await this.#index.remove(tx, docId);
      const text = await tx.first<Pick<ExtractedText, "doc_id" | "filename" | "extracted_text">>(
        "SELECT doc_id, filename, extracted_text FROM Extracted_Texts WHERE doc_id = @doc_id",
        { doc_id: docId },
      );
      if (text) await this.#index.add(tx, text, ownerId);
    });
  }

  ping(): Promise<void> {
    return this.#database.ping();
  }

  async close(): Promise<void> {}
}

interface Beginning {
  filename: string;
  text: string;
}

function rank(terms: readonly SearchTerm[], { filename, text }: Beginning): number {
  return scoreOf(terms, fold(filename), fold(text.slice(0, RANKED_LENGTH)));
}

/** What it returns lets others have their turn when it is time. */
function turns(): () => Promise<void> {
  let began = performance.now();
  return async () => {
    if (performance.now() - began < TURN_MS) return;
    await nextTurn();
    began = performance.now();
  };
}
