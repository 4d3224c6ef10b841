import { referenceTables } from "./0001-reference-tables.ts";
import {
  addColumn,
  createIndex,
  createTable,
  dropIndex,
  type Migration,
  onlySqlite,
} from "./migration.ts";

/** The record of what has run, made first. */
export const recordTable = createTable("Schema_Migrations", [
  "name VARCHAR(100) NOT NULL PRIMARY KEY",
  "checksum CHAR(64) NOT NULL",
  "applied_at DATETIME2(3) NOT NULL",
]);

const DEEP_PATHS = "SELECT 1 AS found FROM Virtual_Paths WHERE depth > 0";

/** In the order in which they run. */
export const migrations: readonly Migration[] = [
  // The oldest databases of the reference system keep no depth of a path, which 0001 needs.
  // Released after 0002, where it finds the column and changes nothing.
  {
    name: "0000-path-depth",
    steps: [
      createTable("Virtual_Paths", [
        "path_id INT IDENTITY(1,1) PRIMARY KEY",
        "full_path NVARCHAR(500) NOT NULL UNIQUE",
        "created_at DATETIME NULL",
        "description NVARCHAR(MAX) NULL",
      ]),
      addColumn("Virtual_Paths", "depth", "INT NOT NULL DEFAULT 0"),
      {
        sqlite: {
          sql: `UPDATE Virtual_Paths SET depth =
  LENGTH(full_path) - LENGTH(REPLACE(full_path, '/', '')) + 1
WHERE full_path <> '/'`,
          unless: DEEP_PATHS,
        },
        // DATALENGTH is in bytes, two a code unit; LEN would not count spaces at the end.
        sqlserver: {
          sql: `UPDATE Virtual_Paths SET depth =
  (DATALENGTH(full_path) - DATALENGTH(REPLACE(full_path, N'/', N''))) / 2 + 1
WHERE full_path <> N'/'`,
          unless: DEEP_PATHS,
        },
      },
    ],
  },
  referenceTables,
  // What this server adds, and indexes that serve its lists.
  {
    name: "0002-server-tables",
    steps: [
      addColumn("Documents", "updated_at", "DATETIME2(3) NULL"),
      addColumn("Documents", "file_size", "BIGINT NULL"),
      addColumn("Documents", "content_type", "VARCHAR(100) NULL"),
      addColumn("Documents", "file_type", "VARCHAR(10) NULL"),
      addColumn("Documents", "description", "NVARCHAR(MAX) NULL"),
      addColumn("Documents", "sha256", "CHAR(64) NULL"),
      // Long enough for `full_path/filename`.
      addColumn("Documents", "blob_key", "NVARCHAR(800) NULL"),
      // NVARCHAR where requests look it up: parameters, which are, can't seek a VARCHAR index.
      createTable("Sessions", [
        "session_id NVARCHAR(32) NOT NULL PRIMARY KEY",
        "user_id INT NOT NULL REFERENCES Users (user_id)",
        "current_token_hash CHAR(64) NOT NULL",
        "pending_token_hash CHAR(64) NULL",
        "pending_issued_at DATETIME2(3) NULL",
        "created_at DATETIME2(3) NOT NULL",
        "last_used_at DATETIME2(3) NOT NULL",
        "expires_at DATETIME2(3) NOT NULL",
        "revoked_at DATETIME2(3) NULL",
        "revoked_reason VARCHAR(50) NULL",
      ]),
      createTable("Password_Resets", [
        "reset_id BIGINT IDENTITY(1,1) PRIMARY KEY",
        "token_hash NVARCHAR(64) NOT NULL UNIQUE",
        "user_id INT NOT NULL REFERENCES Users (user_id)",
        "created_at DATETIME2(3) NOT NULL",
        "expires_at DATETIME2(3) NOT NULL",
        "used_at DATETIME2(3) NULL",
      ]),
      // No reference to Documents: message and document go in either order.
      createTable("Outbox", [
        "outbox_id BIGINT IDENTITY(1,1) PRIMARY KEY",
        "doc_id BIGINT NULL",
        "queue VARCHAR(260) NOT NULL",
        "message_id VARCHAR(36) NOT NULL",
        "body NVARCHAR(MAX) NOT NULL",
        "created_at DATETIME2(3) NOT NULL",
        "attempts INT NOT NULL DEFAULT 0",
        "claimed_by VARCHAR(36) NULL",
        "claimed_until DATETIME2(3) NULL",
        "last_error NVARCHAR(400) NULL",
      ]),
      // Of deleted documents, and of uploads that are not committed.
      createTable("Deletions", [
        "deletion_id BIGINT IDENTITY(1,1) PRIMARY KEY",
        "doc_id BIGINT NULL",
        "blob_key NVARCHAR(800) NOT NULL",
        "due_at DATETIME2(3) NOT NULL",
      ]),
      createIndex("Documents_by_uploader", "Documents (uploaded_by_user_id, uploaded_at)"),
      createIndex("Documents_by_time", "Documents (uploaded_at)"),
      createIndex("Documents_by_path", "Documents (path_id)"),
      createIndex("Documents_by_blob", "Documents (blob_key)"),
      createIndex("Processing_Status_by_document", "Processing_Status (doc_id)"),
      createIndex("Processing_Status_by_state", "Processing_Status (status)"),
      createIndex("Logs_by_time", "Logs (log_timestamp)"),
      createIndex("Logs_by_user", "Logs (user_id)"),
      createIndex("Users_by_role", "Users (role_id)"),
      createIndex("Deletions_by_time", "Deletions (due_at)"),
      createIndex("Sessions_by_user", "Sessions (user_id)"),
      createIndex("Sessions_by_expiry", "Sessions (expires_at)"),
      createIndex("Password_Resets_by_user", "Password_Resets (user_id)"),
    ],
  },
  // For living beside the platform's workers.
  {
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
  },
  // Makes the audit trail tamper-evident. Rows without `row_mac` are outside of its chain.
  {
    name: "0004-audit-chain",
    steps: [
      addColumn("Logs", "row_mac", "CHAR(64) NULL"),
      addColumn("Logs", "chain_epoch", "INT NULL"),
      addColumn("Logs", "chain_sequence", "BIGINT NULL"),
      addColumn("Logs", "chain_mac", "CHAR(64) NULL"),
      createIndex("Logs_by_chain", "Logs (chain_epoch, chain_sequence)"),
      createTable("Audit_Heads", [
        "epoch INT NOT NULL PRIMARY KEY",
        "wrapped_key VARCHAR(200) NOT NULL",
        "length BIGINT NOT NULL",
        "last_mac CHAR(64) NOT NULL",
        "head_mac CHAR(64) NOT NULL",
      ]),
    ],
  },
  // How far the worker is. Other workers leave both columns NULL.
  {
    name: "0005-ocr-progress",
    steps: [
      addColumn("Processing_Status", "pages_done", "INT NULL"),
      addColumn("Processing_Status", "pages_total", "INT NULL"),
    ],
  },
  // A deletion that was begun is no longer taken back, by any process.
  {
    name: "0006-begun-deletions",
    steps: [addColumn("Deletions", "begun_at", "DATETIME2(3) NULL")],
  },
  // Indexes in the order of the lists: each ends with its table's key. Triggers keep
  // `Document_Names`, which finds parts of names, so no writer can forget it.
  {
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
  },
];
