import { addColumn, createIndex, createTable, type Migration } from "./migration.ts";

/** For living beside the platform's workers. */
export const ocrResults: Migration = {
  name: "0003-ocr-results",
  steps: [
    // The cloud worker writes it last; without the table its message comes back for ever.
    createTable("Ocr_Results", [
      "result_id BIGINT IDENTITY(1,1) PRIMARY KEY",
      "doc_id BIGINT NOT NULL REFERENCES Documents (doc_id)",
      "page_count INT NOT NULL",
      "word_count INT NOT NULL",
      "avg_confidence FLOAT NOT NULL",
      "primary_language VARCHAR(10) NOT NULL",
      "category VARCHAR(50) NULL",
      "classification_confidence FLOAT NULL",
      "cost_usd_ocr FLOAT NOT NULL",
      "cost_usd_classification FLOAT NULL",
      "processed_at DATETIME NOT NULL DEFAULT getutcdate()",
    ]),
    createIndex("Ocr_Results_by_document", "Ocr_Results (doc_id)"),
    // Proves that a blob which a worker has moved is the deleted document's.
    addColumn("Deletions", "sha256", "CHAR(64) NULL"),
  ],
};
