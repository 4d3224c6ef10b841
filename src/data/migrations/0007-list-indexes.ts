import { createIndex, dropIndex, type Migration, onlySqlite } from "./migration.ts";

/**
 * Indexes in the order of the lists, which go down an integer key. Every index ends with its
 * table's key. `Document_Names` finds parts of names; triggers keep it, so no writer can forget it.
 */
export const listIndexes: Migration = {
  name: "0007-list-indexes",
  steps: [
    createIndex("Documents_by_owner", "Documents (uploaded_by_user_id)"),
    dropIndex("Documents_by_uploader", "Documents"),
    dropIndex("Documents_by_time", "Documents"),
    createIndex("Processing_Status_by_stage", "Processing_Status (doc_id, stage_name)"),
    dropIndex("Processing_Status_by_document", "Processing_Status"),
    createIndex("Processing_Status_by_result", "Processing_Status (stage_name, status, doc_id)"),
    dropIndex("Processing_Status_by_state", "Processing_Status"),
    createIndex("Logs_by_action", "Logs (action_type)"),
    // Folds case in every script; a list checks what it finds with LIKE.
    onlySqlite(`CREATE VIRTUAL TABLE Document_Names USING fts5(filename, content='',
  contentless_delete=1, detail=none, tokenize='trigram')`),
    onlySqlite(
      "INSERT INTO Document_Names (rowid, filename) SELECT doc_id, filename FROM Documents",
    ),
    onlySqlite(`CREATE TRIGGER Document_Names_insert AFTER INSERT ON Documents BEGIN
  INSERT INTO Document_Names (rowid, filename) VALUES (new.doc_id, new.filename);
END`),
    onlySqlite(`CREATE TRIGGER Document_Names_delete AFTER DELETE ON Documents BEGIN
  DELETE FROM Document_Names WHERE rowid = old.doc_id;
END`),
    onlySqlite(`CREATE TRIGGER Document_Names_update
AFTER UPDATE OF filename, doc_id ON Documents BEGIN
  DELETE FROM Document_Names WHERE rowid = old.doc_id;
  INSERT INTO Document_Names (rowid, filename) VALUES (new.doc_id, new.filename);
END`),
  ],
};
