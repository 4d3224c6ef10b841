import { DatabaseSync } from "node:sqlite";

/** Log in with the first account's password. */
export const HEAVY = "heavy@example.org";
export const LIGHT = "light@example.org";
export const PATHS = 10_000;

const TABLES = "'Users', 'Virtual_Paths', 'Documents', 'Processing_Status', 'Logs'";

const numbers = (last: number) =>
  `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${last})`;

/**
 * Fills a file that the server has migrated, and in which it has made its first admin: 10,000
 * paths, `heavy` and `light` documents of two users, their states (one in ten has failed, one in
 * 5,000 is queued) and an audit row each. One transaction; indexes are made at its end.
 */
export function fill(file: string, heavy: number, light: number): void {
  const documents = heavy + light;
  const database = new DatabaseSync(file, { enableForeignKeyConstraints: false });
  database.exec("PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; BEGIN IMMEDIATE");
  const indexes = database
    .prepare(
      `SELECT name, sql FROM sqlite_master
       WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN (${TABLES})`,
    )
    .all();
  for (const { name } of indexes) database.exec(`DROP INDEX ${name}`);
  const first = "(SELECT MIN(user_id) FROM Users)";
  const owner = (email: string) => `(SELECT user_id FROM Users WHERE email = '${email}')`;
  database.exec(`
    INSERT INTO Users (username, full_name, email, password_hash, created_at, is_active, role_id)
      SELECT column1, column1, column2, password_hash, created_at, 1, 1
      FROM (VALUES ('heavy', '${HEAVY}'), ('light', '${LIGHT}')), Users WHERE user_id = ${first};
    INSERT INTO Virtual_Paths (full_path, created_at, depth)
      ${numbers(PATHS)}
      SELECT 'folder' || (i % 100) || '/' || i, '2026-01-01T00:00:00.000Z', 2 FROM n;
    INSERT INTO Documents (filename, path_id, uploaded_by_user_id, mongo_doc_id, uploaded_at,
        updated_at, file_size, content_type, file_type, sha256, blob_key)
      ${numbers(documents)}
      SELECT CASE i % 4 WHEN 0 THEN 'Invoice ' WHEN 1 THEN 'report-' WHEN 2 THEN 'عقد رقم '
          ELSE 'scan_' END || i || '.pdf', 2 + i % ${PATHS},
        CASE WHEN i * ${light} / ${documents} > (i - 1) * ${light} / ${documents}
          THEN ${owner(LIGHT)} ELSE ${owner(HEAVY)} END,
        'pending', '2026-02-01T00:00:00.000Z', '2026-02-01T00:00:00.000Z', 20480,
        'application/pdf', 'pdf', hex(randomblob(32)), 'blob' || i
      FROM n;
    INSERT INTO Processing_Status (doc_id, stage_name, status, start_time)
      SELECT doc_id, 'OCR', CASE WHEN doc_id % 5000 = 11 THEN 'Queued'
        WHEN doc_id % 10 = 3 THEN 'Failed' ELSE 'Finished' END, uploaded_at FROM Documents;
    INSERT INTO Logs (log_timestamp, action_type, user_id, entity_id, details)
      SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 1.7e9 + doc_id, 'unixepoch'),
        CASE WHEN doc_id % 5000 = 11 THEN 'document_delete' ELSE 'document_upload' END,
        uploaded_by_user_id, doc_id, '{"request_id":"0123456789abcdef"}' FROM Documents`);
  for (const { sql } of indexes) database.exec(String(sql));
  // On the disk, or the server's first commit waits for all of it.
  database.exec("COMMIT; PRAGMA synchronous = FULL; PRAGMA wal_checkpoint(TRUNCATE)");
  database.close();
}
