import { createHash } from "node:crypto";

export type Engine = "sqlite" | "sqlserver";

/** One statement; left out when the SELECT `unless` has a row, so that what exists stays as it is. */
export interface Step {
  readonly sql: string;
  readonly unless?: string;
}

/** A change of the schema, the same one for both engines. Once released it is never edited: its checksum is in databases. */
export interface Migration {
  readonly name: string;
  readonly steps: readonly Readonly<Record<Engine, Step>>[];
}

/** SHA-256, in hex, of what a migration does on one engine. */
export function checksum(migration: Migration, engine: Engine): string {
  const steps = migration.steps.map((step) => [step[engine].unless ?? "", step[engine].sql]);
  return createHash("sha256").update(JSON.stringify(steps)).digest("hex");
}

/**
 * SQLite's form of a column or constraint written for SQL Server. The declared type stays, because `sqlite.ts` reads
 * values by it; text compares without case, as in SQL Server's default collation.
 */
function sqliteColumn(definition: string): string {
  return definition
    .replace(/\b(BIG)?INT IDENTITY\(1,1\) PRIMARY KEY/, "INTEGER PRIMARY KEY AUTOINCREMENT")
    .replace("NVARCHAR(MAX)", "TEXT COLLATE NOCASE")
    .replace(/\bN?(VAR)?CHAR\(\d+\)/, "$& COLLATE NOCASE")
    .replace("DEFAULT getdate()", "DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))");
}

/** A SELECT that has a row when the table exists. */
export function tableExists(name: string): Readonly<Record<Engine, string>> {
  return {
    sqlite: `SELECT 1 AS found FROM sqlite_master WHERE type = 'table' AND name = '${name}' COLLATE NOCASE`,
    sqlserver: `SELECT 1 AS found WHERE OBJECT_ID(N'${name}', N'U') IS NOT NULL`,
  };
}

/** A table, where it is missing. `columns` are definitions in T-SQL, constraints of the table among them. */
export function createTable(name: string, columns: readonly string[]): Migration["steps"][number] {
  const body = (definitions: readonly string[]) =>
    `(\n${definitions.map((column) => `  ${column}`).join(",\n")}\n)`;
  return {
    sqlite: { sql: `CREATE TABLE IF NOT EXISTS ${name} ${body(columns.map(sqliteColumn))}` },
    sqlserver: {
      sql: `CREATE TABLE ${name} ${body(columns)}`,
      unless: tableExists(name).sqlserver,
    },
  };
}

/** A column, where it is missing. */
export function addColumn(table: string, column: string, type: string): Migration["steps"][number] {
  return {
    sqlite: {
      sql: `ALTER TABLE ${table} ADD COLUMN ${sqliteColumn(`${column} ${type}`)}`,
      unless: `SELECT 1 AS found FROM pragma_table_info('${table}') WHERE name = '${column}' COLLATE NOCASE`,
    },
    sqlserver: {
      sql: `ALTER TABLE ${table} ADD ${column} ${type}`,
      unless: `SELECT 1 AS found WHERE COL_LENGTH(N'${table}', N'${column}') IS NOT NULL`,
    },
  };
}

/** An index. Names are `Table_by_what`, so that none of the reference system's can be in the way. */
export function createIndex(name: string, on: string): Migration["steps"][number] {
  const step = { sql: `CREATE INDEX ${name} ON ${on}` };
  return { sqlite: step, sqlserver: step };
}

/** A row, unless one `where` exists. `identity`: the row brings its own number for the table's identity column. */
export function seedRow(seed: {
  table: string;
  columns: string;
  values: Readonly<Record<Engine, string>>;
  where: string;
  identity: boolean;
}): Migration["steps"][number] {
  const { table, columns, values, where } = seed;
  const insert = `INSERT INTO ${table} (${columns})`;
  const existing = `SELECT 1 AS found FROM ${table} WHERE ${where}`;
  const row = `${insert} VALUES (${values.sqlserver})`;
  return {
    sqlite: { sql: `${insert} SELECT ${values.sqlite} WHERE NOT EXISTS (${existing})` },
    sqlserver: {
      sql: seed.identity
        ? `SET IDENTITY_INSERT ${table} ON;\n${row};\nSET IDENTITY_INSERT ${table} OFF`
        : row,
      unless: existing,
    },
  };
}
