import { setImmediate as nextTurn } from "node:timers/promises";
import type { Database, Queryable, Window } from "../data/database.ts";
import type { ContentStore, ExtractedText, Hit, SearchTerm } from "./content-store.ts";
import { fold } from "./fold.ts";
import { needleOf } from "./search-terms.ts";
import { snippetOf } from "./snippet.ts";

type Words = Pick<ExtractedText, "filename" | "extracted_text">;

/** So many of the newest hits are counted and listed, looked for in pieces. */
const MAX_HITS = 10_000;
const PIECE = 2_500;
/** So many of the newest are ranked, by so many UTF-16 units of each; the others follow. */
const RANKED_HITS = 50;
const RANKED_LENGTH = 20_000;
/** Of a text, for its snippet. */
const SHOWN_LENGTH = 200_000;
/** BM25's length that is neither short nor long, in UTF-16 units: about a page. */
const USUAL_LENGTH = 3_000;

/** In `owner_id` of texts that no search may find. Of those that wait for an owner it is NULL. */
const NOBODY = 0;
const [LAST_OWNER, LAST_DOC] = [2 ** 31 - 1, 2 ** 32 - 1];
/** An owner's entries are one range, so that the engine reads nobody else's. */
const ROWID = "owner_id << 32 | doc_id";
/** In each of an owner's entries, in no folded text: without it FTS5 looks past the range's end. */
const ownerWord = (ownerId: number) => `\ue000${ownerId}`;

const TABLE = `CREATE TABLE IF NOT EXISTS Extracted_Texts (
  doc_id BIGINT NOT NULL PRIMARY KEY, content_id VARCHAR(36) NOT NULL UNIQUE,
  filename NVARCHAR(255) NOT NULL, file_type VARCHAR(10) NOT NULL,
  blob_path NVARCHAR(2000) NOT NULL, extracted_text NVARCHAR(4000) NOT NULL,
  ocr NVARCHAR(4000) NOT NULL, classification NVARCHAR(4000) NOT NULL,
  processed_at DATETIME2(3) NOT NULL)`;
/** What older versions lack. The index has the words of text and file name, not the text again. */
const SEARCH = [
  "ALTER TABLE Extracted_Texts ADD COLUMN owner_id BIGINT NULL",
  `CREATE INDEX IX_Extracted_Texts_unindexed ON Extracted_Texts (doc_id) WHERE owner_id IS NULL`,
  // The tokenizer `ascii` splits folded texts at their spaces and nowhere else.
  `CREATE VIRTUAL TABLE Extracted_Text_Index USING fts5(filename, folded,
     content = '', contentless_delete = 1, tokenize = 'ascii', prefix = '2 3')`,
];
/** In one JSON array: rows would take ten times as long. */
const FIND = `SELECT json_group_array(rowid & ${LAST_DOC}) AS doc_ids, MIN(rowid) >> 32 AS owner_id
  FROM (SELECT rowid FROM Extracted_Text_Index WHERE Extracted_Text_Index MATCH @query
    AND rowid BETWEEN @first_owner << 32 AND (@owner << 32 | @doc_id)
    ORDER BY rowid DESC LIMIT @limit)`;

/** Extracted texts in a table of the embedded database, beside their FTS5 index. */
export class EmbeddedContentStore implements ContentStore {
  readonly description = "embedded";
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  connect(): Promise<void> {
    return this.#database.transaction(async (tx) => {
      await tx.run(TABLE);
      const columns = await tx.columns("Extracted_Texts");
      if (!columns.has("owner_id")) for (const statement of SEARCH) await tx.run(statement);
    });
  }

  async put(text: ExtractedText, ownerId?: number): Promise<string> {
    const content_id = String(text.doc_id);
    const { ocr, classification } = text;
    const json = { ocr: JSON.stringify(ocr), classification: JSON.stringify(classification) };
    await this.#database.transaction(async (tx) => {
      await forget(tx, text.doc_id);
      await tx.run(
        `INSERT OR REPLACE INTO Extracted_Texts (doc_id, content_id, filename, file_type,
           blob_path, extracted_text, ocr, classification, processed_at)
         VALUES (@doc_id, @content_id, @filename, @file_type,
           @blob_path, @extracted_text, @ocr, @classification, @processed_at)`,
        { ...text, ...json, content_id },
      );
      if (ownerId !== undefined) await addToIndex(tx, text.doc_id, ownerId);
    });
    return content_id;
  }

  async get(docId: number): Promise<ExtractedText | undefined> {
    const row = await this.#database.first<ExtractedText & { ocr: string; classification: string }>(
      `SELECT doc_id, filename, file_type, blob_path, extracted_text, ocr, classification,
         processed_at FROM Extracted_Texts WHERE doc_id = @doc_id`,
      { doc_id: docId },
    );
    if (!row) return undefined;
    return { ...row, ocr: JSON.parse(row.ocr), classification: JSON.parse(row.classification) };
  }

  delete(docId: number): Promise<void> {
    return this.#database.transaction(async (tx) => {
      await forget(tx, docId);
      await tx.run("DELETE FROM Extracted_Texts WHERE doc_id = @doc_id", { doc_id: docId });
    });
  }

  /** Of everybody's lists the first 10,000 in the order of owners: sorting more takes long. */
  async search(terms: readonly SearchTerm[], ownerId: number | undefined, window: Window) {
    const { skip, limit } = window;
    const found = await this.#listMatches(terms, ownerId);
    const docIds = found.slice(0, MAX_HITS).sort((a, b) => b - a);
    const ranked: { docId: number; score: number }[] = [];
    for (const docId of skip < RANKED_HITS ? docIds.splice(0, RANKED_HITS) : []) {
      const text = await this.#read(docId, RANKED_LENGTH);
      ranked.push({ docId, score: text ? scoreOf(terms, text) : 0 });
    }
    // Sorting is stable: of equals the newer one stays first.
    docIds.unshift(...ranked.sort((a, b) => b.score - a.score).map(({ docId }) => docId));
    const hits: Hit[] = [];
    for (const docId of docIds.slice(skip, skip + limit)) {
      const text = await this.#read(docId, SHOWN_LENGTH);
      // Otherwise it was deleted meanwhile.
      if (!text) continue;
      const snippet = snippetOf(text.extracted_text, terms);
      hits.push({ docId, score: scoreOf(terms, text), snippet });
    }
    return { total: docIds.length, isExact: found.length <= MAX_HITS, hits };
  }

  /** Folded words have no quotes, so none can end a string (sqlite.org/fts5.html, section 3). */
  async #listMatches(terms: readonly SearchTerm[], ownerId?: number): Promise<number[]> {
    const query = terms
      .map(({ words, isPrefix }) => `"${words.join(" ")}"${isPrefix ? " *" : ""}`)
      .concat(ownerId === undefined ? [] : `"${ownerWord(ownerId)}"`)
      .join(" AND ");
    // A longer prefix has no index: the engine would gather all its words for each piece.
    const limit = /[^" ]{4}" \*/.test(query) ? MAX_HITS + 1 : PIECE;
    const docIds: number[] = [];
    let last = { owner: ownerId ?? LAST_OWNER, doc_id: LAST_DOC };
    for (;;) {
      const params = { query, limit, first_owner: ownerId ?? 0, ...last };
      const row = await this.#database.first<{ doc_ids: string; owner_id: number }>(FIND, params);
      const piece: number[] = JSON.parse(row?.doc_ids ?? "[]");
      docIds.push(...piece);
      if (!row || piece.length < limit || docIds.length > MAX_HITS) return docIds;
      last = { owner: row.owner_id, doc_id: (piece.at(-1) ?? 1) - 1 };
      await nextTurn();
    }
  }

  async #read(docId: number, length: number) {
    // One text at a time: other requests have their turn between two.
    await nextTurn();
    return this.#database.first<Words>(
      `SELECT filename, substr(extracted_text, 1, @length) AS extracted_text
       FROM Extracted_Texts WHERE doc_id = @doc_id`,
      { doc_id: docId, length },
    );
  }

  async listUnindexed(limit: number): Promise<number[]> {
    const rows = await this.#database.all<{ doc_id: number }>(
      "SELECT doc_id FROM Extracted_Texts WHERE owner_id IS NULL ORDER BY doc_id LIMIT @limit",
      { limit },
    );
    return rows.map((row) => row.doc_id);
  }

  index(docId: number, ownerId: number = NOBODY): Promise<void> {
    return this.#database.transaction(async (tx) => {
      await forget(tx, docId);
      await addToIndex(tx, docId, ownerId);
    });
  }

  ping(): Promise<void> {
    return this.#database.ping();
  }

  async close(): Promise<void> {}
}

function forget(tx: Queryable, docId: number): Promise<number> {
  const entry = `SELECT ${ROWID} FROM Extracted_Texts WHERE doc_id = @doc_id`;
  return tx.run(`DELETE FROM Extracted_Text_Index WHERE rowid = (${entry})`, { doc_id: docId });
}

async function addToIndex(tx: Queryable, docId: number, ownerId: number): Promise<void> {
  const row = await tx.first<Words>(
    `UPDATE Extracted_Texts SET owner_id = @owner_id WHERE doc_id = @doc_id
     RETURNING filename, extracted_text`,
    { doc_id: docId, owner_id: ownerId },
  );
  if (!row || ownerId === NOBODY) return;
  const filename = ownerWord(ownerId) + fold(row.filename);
  await tx.run(
    `INSERT INTO Extracted_Text_Index (rowid, filename, folded)
     SELECT ${ROWID}, @filename, @folded FROM Extracted_Texts WHERE doc_id = @doc_id`,
    { doc_id: docId, filename, folded: fold(row.extracted_text) },
  );
}

/**
 * BM25 of a document without its weight of rare words: that would tell how many documents of
 * others have them. A term gives at most 1 for the text, and 1 for the file name.
 */
function scoreOf(terms: readonly SearchTerm[], text: Words): number {
  const filename = fold(text.filename);
  const folded = fold(text.extracted_text.slice(0, RANKED_LENGTH));
  let score = 0;
  for (const needle of terms.map(needleOf)) {
    const count = folded.split(needle).length - 1;
    score += count / (count + 0.6 + (0.6 * folded.length) / USUAL_LENGTH);
    if (filename.includes(needle)) score += 1;
  }
  return Math.round(score * 10_000) / 10_000;
}
