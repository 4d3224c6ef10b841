import { addColumn, createIndex, createTable, type Migration } from "./migration.ts";

/** What this server adds, and indexes that serve its lists. */
export const serverTables: Migration = {
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
    // Keys that requests look up are NVARCHAR, as parameters are, which can't seek a VARCHAR index.
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
};
