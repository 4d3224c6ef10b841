import type { Database, Queryable } from "../data/database.ts";
import type { ExtractedText, SearchTerm } from "./content-store.ts";
import { fold } from "./fold.ts";

/** Hits after so many are neither counted nor listed. */
const MAX_HITS = 10_000;
/** In `owner_id` of texts that no search may find. Without an index entry it is NULL. */
const NOBODY = 0;

/**
 * An owner's rows are one range, so that the engine reads nobody else's. Needs `owner_id` below
 * 2^31 and `doc_id` below 2^32.
 */
const ROWID = "@owner_id * 4294967296 + @doc_id";
const FIRST_ROWID = "@owner_id * 4294967296";
const LAST_ROWID = "@owner_id * 4294967296 + 4294967295";

/**
 * A word of each of an owner's entries, which no folded text has. Without it the engine, which
 * tells a range's end by a hit only, would look for one among everybody's entries.
 */
const ownerWord = (ownerId: number) => `\ue000${ownerId}`;

const MATCHES =
  "SELECT rowid & 4294967295 AS doc_id FROM Extracted_Text_Index WHERE Extracted_Text_Index MATCH";
/** One JSON array: ten thousand rows would take ten times as long. */
const asJson = (matches: string) =>
  `SELECT json_group_array(doc_id) AS doc_ids FROM
     (${matches} ORDER BY rowid DESC LIMIT ${MAX_HITS + 1})`;
const FIND_ALL = asJson(`${MATCHES} @query`);
const FIND_OWN = asJson(`${MATCHES} @query AND rowid BETWEEN ${FIRST_ROWID} AND ${LAST_ROWID}`);

type Indexed = Pick<ExtractedText, "doc_id" | "filename" | "extracted_text">;

/**
 * The FTS5 index of `Extracted_Texts`, contentless: the words of each text and file name, but not
 * the text. `Extracted_Texts.owner_id` says whose range a document is in.
 */
export class TextIndex {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Also beside a table that an older version made. */
  async create(tx: Queryable): Promise<void> {
    const columns = await tx.columns("Extracted_Texts");
    if (!columns.has("owner_id"))
      await tx.run("ALTER TABLE Extracted_Texts ADD COLUMN owner_id BIGINT NULL");
    await tx.run(
      `CREATE INDEX IF NOT EXISTS IX_Extracted_Texts_unindexed
       ON Extracted_Texts (doc_id) WHERE owner_id IS NULL`,
    );
    // The tokenizer `ascii` splits folded texts at their spaces and nowhere else.
    await tx.run(
      `CREATE VIRTUAL TABLE IF NOT EXISTS Extracted_Text_Index USING fts5(filename, folded,
       content = '', contentless_delete = 1, tokenize = 'ascii', prefix = '2 3')`,
    );
  }

  /** In the transaction that wrote the text's row. Without an owner no search finds it. */
  async add(tx: Queryable, text: Indexed, ownerId = NOBODY): Promise<void> {
    const { doc_id } = text;
    const owner_id = ownerId < 2 ** 31 && doc_id < 2 ** 32 ? ownerId : NOBODY;
    await tx.run("UPDATE Extracted_Texts SET owner_id = @owner_id WHERE doc_id = @doc_id", {
      doc_id,
      owner_id,
    });
    if (owner_id === NOBODY) return;
    await tx.run(
      `INSERT INTO Extracted_Text_Index (rowid, filename, folded)
       VALUES (${ROWID}, @filename, @folded)`,
      {
        doc_id,
        owner_id,
        filename: ownerWord(owner_id) + fold(text.filename),
        folded: fold(text.extracted_text),
      },
    );
  }

  /** Before the text's row changes. */
  async remove(tx: Queryable, docId: number): Promise<void> {
    const row = await tx.first<{ owner_id: number | null }>(
      "SELECT owner_id FROM Extracted_Texts WHERE doc_id = @doc_id",
      { doc_id: docId },
    );
    if (!row?.owner_id) return;
    const params = { doc_id: docId, owner_id: row.owner_id };
    await tx.run(`DELETE FROM Extracted_Text_Index WHERE rowid = ${ROWID}`, params);
  }

  async listMissing(limit: number): Promise<number[]> {
    const rows = await this.#database.all<{ doc_id: number }>(
      `SELECT doc_id FROM Extracted_Texts WHERE owner_id IS NULL ORDER BY doc_id LIMIT @limit`,
      { limit },
    );
    return rows.map((row) => row.doc_id);
  }

  /**
   * The newest documents that have every term. Among everybody's, newest of the first 10,000 in
   * the order of owners: to sort more would hold the process.
   */
  async find(
    terms: readonly SearchTerm[],
    ownerId: number | undefined,
  ): Promise<{ docIds: number[]; isExact: boolean }> {
    const query = matchOf(terms);
    const row = await (ownerId === undefined
      ? this.#database.first<{ doc_ids: string }>(FIND_ALL, { query })
      : this.#database.first<{ doc_ids: string }>(FIND_OWN, {
          query: `"${ownerWord(ownerId)}" AND ${query}`,
          owner_id: ownerId,
        }));
    const docIds: number[] = JSON.parse(row?.doc_ids ?? "[]");
    const isExact = docIds.length <= MAX_HITS;
    return { docIds: docIds.slice(0, MAX_HITS).sort((a, b) => b - a), isExact };
  }
}

/** Folded words have no quotes, so none can end a string (sqlite.org/fts5.html, section 3). */
function matchOf(terms: readonly SearchTerm[]): string {
  return terms
    .map(({ words, isPrefix }) => `"${words.join(" ")}"${isPrefix ? " *" : ""}`)
    .join(" AND ");
}
