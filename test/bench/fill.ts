import { DatabaseSync } from "node:sqlite";

/**
 * Fills a migrated, empty database file with so many documents, their stages and audit rows, in
 * one transaction. User 3 owns a thousand, users 1 and 2 share the rest. One document in ten has failed, one in 5,000 is queued.
 */
export function fill(file: string, documents: number): void {
  const database = new DatabaseSync(file);
  database.exec(`PRAGMA synchronous = OFF; BEGIN IMMEDIATE;
    INSERT INTO Users (username, full_name, email, password_hash, created_at, is_active, role_id)
      WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3)
      SELECT 'u' || i, 'User', 'u' || i || '@example.com', 'x', '2026-01-01T00:00:00.000Z', 1, 1
      FROM n;
    INSERT INTO Virtual_Paths (full_path, created_at, depth)
      WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
      SELECT 'folder' || (i % 100) || '/' || i, '2026-01-01T00:00:00.000Z', 2 FROM n;
    INSERT INTO Documents (filename, path_id, uploaded_by_user_id, mongo_doc_id, uploaded_at,
        updated_at, file_size, content_type, file_type, sha256, blob_key)
      WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${documents})
      SELECT CASE i % 4 WHEN 0 THEN 'Invoice ' WHEN 1 THEN 'report-' WHEN 2 THEN 'عقد رقم '
          ELSE 'scan_' END || i || '.pdf', 1 + i % 10000,
        CASE WHEN i % (1 + ${documents} / 1000) = 7 THEN 3 ELSE 1 + i % 2 END, 'pending',
        '2026-02-01T00:00:00.000Z', '2026-02-01T00:00:00.000Z', 20480, 'application/pdf', 'pdf',
        hex(randomblob(32)), 'blob' || i
      FROM n;
    INSERT INTO Processing_Status (doc_id, stage_name, status, start_time)
      SELECT doc_id, 'OCR', CASE WHEN doc_id % 5000 = 11 THEN 'Queued'
        WHEN doc_id % 10 = 3 THEN 'Failed' ELSE 'Finished' END, uploaded_at FROM Documents;
    INSERT INTO Logs (log_timestamp, action_type, user_id, entity_id, details)
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 1.7e9 + doc_id, 'unixepoch'),
        CASE WHEN doc_id % 5000 = 11 THEN 'document_delete' ELSE 'document_upload' END,
        uploaded_by_user_id, doc_id, '{"request_id":"0123456789abcdef"}' FROM Documents;
    COMMIT`);
  database.close();
}
