import { randomUUID } from "node:crypto";
import type { Database } from "../data/database.ts";
import type { ContentStore, ExtractedText } from "./content-store.ts";

interface Row {
  doc_id: number;
  filename: string;
  file_type: string;
  blob_path: string;
  extracted_text: string;
  ocr: string;
  classification: string;
  processed_at: Date;
}

/**
 * Extracted texts in a table of the embedded database, which stays its owner's to close. `connect` makes the table: it only
 * ever exists on the embedded engine, so the migrations that both engines share don't know it.
 */
export class EmbeddedContentStore implements ContentStore {
  readonly description = "embedded";
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async connect(): Promise<void> {
    await this.#database.run(
      `CREATE TABLE IF NOT EXISTS Extracted_Texts (
        doc_id BIGINT NOT NULL PRIMARY KEY,
        content_id VARCHAR(36) NOT NULL UNIQUE,
        filename NVARCHAR(255) NOT NULL,
        file_type VARCHAR(10) NOT NULL,
        blob_path NVARCHAR(2000) NOT NULL,
        extracted_text NVARCHAR(4000) NOT NULL,
        ocr NVARCHAR(4000) NOT NULL,
        classification NVARCHAR(4000) NOT NULL,
        processed_at DATETIME2(3) NOT NULL
      )`,
    );
  }

  /** A replaced text keeps its id. */
  async put(text: ExtractedText): Promise<string> {
    const params = {
      doc_id: text.doc_id,
      content_id: randomUUID(),
      filename: text.filename,
      file_type: text.file_type,
      blob_path: text.blob_path,
      extracted_text: text.extracted_text,
      ocr: JSON.stringify(text.ocr),
      classification: JSON.stringify(text.classification),
      processed_at: text.processed_at,
    };
    const columns = Object.keys(params);
    const replaced = columns.filter((column) => column !== "doc_id" && column !== "content_id");
    const row = await this.#database.first<{ content_id: string }>(
      `INSERT INTO Extracted_Texts (${columns.join(", ")})
       VALUES (${columns.map((column) => `@${column}`).join(", ")})
       ON CONFLICT (doc_id) DO UPDATE SET ${replaced.map((column) => `${column} = excluded.${column}`).join(", ")}
       RETURNING content_id`,
      params,
    );
    return row?.content_id ?? params.content_id;
  }

  async get(docId: number): Promise<ExtractedText | undefined> {
    const row = await this.#database.first<Row>(
      `SELECT doc_id, filename, file_type, blob_path, extracted_text, ocr, classification, processed_at
       FROM Extracted_Texts WHERE doc_id = @doc_id`,
      { doc_id: docId },
    );
    return (
      row && { ...row, ocr: JSON.parse(row.ocr), classification: JSON.parse(row.classification) }
    );
  }

  async delete(docId: number): Promise<void> {
    await this.#database.run("DELETE FROM Extracted_Texts WHERE doc_id = @doc_id", {
      doc_id: docId,
    });
  }

  ping(): Promise<void> {
    return this.#database.ping();
  }

  async close(): Promise<void> {}
}
