import { createTable, type Migration, NOW, seedRole, seedRow } from "./migration.ts";

/** The tables of the reference system. */
export const referenceTables: Migration = {
  name: "0001-reference-tables",
  steps: [
    createTable("Roles", [
      "role_id INT IDENTITY(1,1) PRIMARY KEY",
      "role_name NVARCHAR(50) NOT NULL UNIQUE",
      "description NVARCHAR(255) NULL",
    ]),
    createTable("Actions", [
      "action_id INT IDENTITY(1,1) PRIMARY KEY",
      "action_name VARCHAR(50) NOT NULL UNIQUE",
      "entity_type VARCHAR(20) NOT NULL",
    ]),
    createTable("Role_Actions", [
      "role_action_id BIGINT IDENTITY(1,1) PRIMARY KEY",
      "role_id INT NOT NULL REFERENCES Roles (role_id)",
      "action_id INT NOT NULL REFERENCES Actions (action_id)",
      "UNIQUE (role_id, action_id)",
    ]),
    createTable("Users", [
      "user_id INT IDENTITY(1,1) PRIMARY KEY",
      "username NVARCHAR(50) NOT NULL UNIQUE",
      "full_name NVARCHAR(100) NOT NULL",
      "email NVARCHAR(100) NOT NULL UNIQUE",
      "password_hash VARCHAR(255) NOT NULL",
      "created_at DATETIME NOT NULL DEFAULT getdate()",
      "is_active BIT NOT NULL DEFAULT 0",
      "role_id INT NULL DEFAULT 1 REFERENCES Roles (role_id)",
    ]),
    createTable("Virtual_Paths", [
      "path_id INT IDENTITY(1,1) PRIMARY KEY",
      "full_path NVARCHAR(500) NOT NULL UNIQUE",
      "created_at DATETIME NULL",
      "description NVARCHAR(MAX) NULL",
      "depth INT NOT NULL",
    ]),
    createTable("Documents", [
      "doc_id BIGINT IDENTITY(1,1) PRIMARY KEY",
      "filename NVARCHAR(255) NOT NULL",
      "path_id INT NOT NULL REFERENCES Virtual_Paths (path_id)",
      "uploaded_by_user_id INT NOT NULL REFERENCES Users (user_id)",
      "mongo_doc_id VARCHAR(36) NOT NULL",
      "uploaded_at DATETIME NULL",
      "UNIQUE (filename, path_id)",
    ]),
    createTable("Processing_Status", [
      "status_id BIGINT IDENTITY(1,1) PRIMARY KEY",
      "doc_id BIGINT NOT NULL REFERENCES Documents (doc_id)",
      "stage_name VARCHAR(50) NOT NULL",
      "status VARCHAR(20) NOT NULL",
      "start_time DATETIME NULL",
      "end_time DATETIME NULL",
      "error_message NVARCHAR(MAX) NULL",
    ]),
    createTable("Individual_Permissions", [
      "permission_id BIGINT IDENTITY(1,1) PRIMARY KEY",
      "user_id INT NOT NULL REFERENCES Users (user_id)",
      "action_id INT NOT NULL REFERENCES Actions (action_id)",
      "entity_id BIGINT NULL",
      "entity_type VARCHAR(20) NULL",
      "is_allowed BIT NOT NULL",
      "is_inherited BIT NOT NULL DEFAULT 0",
    ]),
    createTable("Logs", [
      "log_id BIGINT IDENTITY(1,1) PRIMARY KEY",
      "log_timestamp DATETIME NULL",
      "action_type VARCHAR(50) NOT NULL",
      "user_id INT NULL REFERENCES Users (user_id)",
      "entity_id BIGINT NULL",
      "details NVARCHAR(MAX) NULL",
    ]),
    seedRole(1, "User", "Uploads and reads own documents"),
    seedRole(99, "Admin", "Manages accounts, paths and every document"),
    seedRow(
      "Virtual_Paths",
      "full_path, created_at, depth",
      `N'/', ${NOW.sqlserver}, 0`,
      "full_path = '/'",
    ),
  ],
};
