import { pathDepth } from "./0000-path-depth.ts";
import { referenceTables } from "./0001-reference-tables.ts";
import { serverTables } from "./0002-server-tables.ts";
import { ocrResults } from "./0003-ocr-results.ts";
import { auditChain } from "./0004-audit-chain.ts";
import { ocrProgress } from "./0005-ocr-progress.ts";
import { begunDeletions } from "./0006-begun-deletions.ts";
import { listIndexes } from "./0007-list-indexes.ts";
import { createTable, type Migration } from "./migration.ts";

/** In the order in which they run. */
export const migrations: readonly Migration[] = [
  pathDepth,
  referenceTables,
  serverTables,
  ocrResults,
  auditChain,
  ocrProgress,
  begunDeletions,
  listIndexes,
];

/** The record of what has run, made first. */
export const recordTable = createTable("Schema_Migrations", [
  "name VARCHAR(100) NOT NULL PRIMARY KEY",
  "checksum CHAR(64) NOT NULL",
  "applied_at DATETIME2(3) NOT NULL",
]);
