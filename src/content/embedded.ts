import { randomUUID } from "node:crypto";
import type { Database } from "../data/database.ts";
import { AppError } from "../errors.ts";
import type { ContentStore, ExtractedText, Hits } from "./content-store.ts";

/** `ocr` and `classification` are JSON. */
type Row = Omit<ExtractedText, "ocr" | "classification"> & { ocr: string; classification: string };

/** Extracted texts in a table of the embedded database. */
export class EmbeddedContentStore implements ContentStore {
  readonly description = "embedded";
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async connect(): Promise<void> {
    await this.#database.run(
      `CREATE TABLE IF NOT EXISTS Extracted_Texts (
        doc_id BIGINT NOT NULL PRIMARY KEY, content_id VARCHAR(36) NOT NULL UNIQUE,
        filename NVARCHAR(255) NOT NULL, file_type VARCHAR(10) NOT NULL,
        blob_path NVARCHAR(2000) NOT NULL, extracted_text NVARCHAR(4000) NOT NULL,
        ocr NVARCHAR(4000) NOT NULL, classification NVARCHAR(4000) NOT NULL,
        processed_at DATETIME2(3) NOT NULL
      )`,
    );
  }

  async put(text: ExtractedText, _ownerId?: number): Promise<string> {
    const row = await this.#database.first<{ content_id: string }>(
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
    return String(row?.content_id);
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

  async delete(docId: number): Promise<void> {
    const sql = "DELETE FROM Extracted_Texts WHERE doc_id = @doc_id";
    await this.#database.run(sql, { doc_id: docId });
  }

  async search(): Promise<Hits> {
    throw new AppError("not_implemented", "This text store can't search.");
  }

  async listUnindexed(): Promise<number[]> {
    return [];
  }

  async index(): Promise<void> {}

  ping(): Promise<void> {
    return this.#database.ping();
  }

  async close(): Promise<void> {}
}
