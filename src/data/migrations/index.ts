import { pathDepth } from "./0000-path-depth.ts";
import { referenceTables } from "./0001-reference-tables.ts";
import { serverTables } from "./0002-server-tables.ts";
import { ocrResults } from "./0003-ocr-results.ts";
import { auditChain } from "./0004-audit-chain.ts";
import { checksum, createTable, type Engine, type Migration, NOW, type Step } from "./migration.ts";

/** All of them, in the order in which they run. New ones go to the end. */
export const migrations: readonly Migration[] = [
  pathDepth,
  referenceTables,
  serverTables,
  ocrResults,
  auditChain,
];

/** The record of what has run, made before everything else. */
export const recordTable = createTable("Schema_Migrations", [
  "name VARCHAR(100) NOT NULL PRIMARY KEY",
  "checksum CHAR(64) NOT NULL",
  "applied_at DATETIME2(3) NOT NULL",
]);

/** The SQL of the migrations in `names`, for reading or for running it by hand. */
export function migrationScript(engine: Engine, names: readonly string[]): string {
  const [begin, commit, end] =
    engine === "sqlite"
      ? ["BEGIN", "COMMIT", ";"]
      : ["SET XACT_ABORT ON;\nBEGIN TRANSACTION", "COMMIT TRANSACTION", ";\nGO"];
  const chosen = migrations.filter((migration) => names.includes(migration.name));
  const parts = chosen.map((migration) => [
    `-- ${migration.name}`,
    `${begin}${end}`,
    ...[recordTable, ...migration.steps].map((step) => `${stepText(engine, step[engine])}${end}`),
    "INSERT INTO Schema_Migrations (name, checksum, applied_at)",
    `VALUES ('${migration.name}', '${checksum(migration, engine)}', ${NOW[engine]})${end}`,
    `${commit}${end}`,
  ]);
  return `${parts.map((part) => part.join("\n")).join("\n\n")}\n`;
}

/** SQLite's SQL has no IF: there the condition stands in a comment. */
function stepText(engine: Engine, step: Step): string {
  if (step.unless === undefined) return step.sql;
  return engine === "sqlite"
    ? `-- unless there is a row: ${step.unless}\n${step.sql}`
    : `IF NOT EXISTS (${step.unless})\nBEGIN\n${step.sql}\nEND`;
}
