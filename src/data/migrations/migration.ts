import { createHash } from "node:crypto";

export type Engine = "sqlite" | "sqlserver";

/** One statement; left out when the SELECT `unless` has a row, so that what exists stays. */
interface Step {
  readonly sql: string;
  readonly unless?: string;
}

type Steps = Readonly<Record<Engine, Step>>;

/** A change of the schema. Once released it is never edited: its checksum is in databases. */
export interface Migration {
  readonly name: string;
  readonly steps: readonly Steps[];
}

export const NOW: Readonly<Record<Engine, string>> = {
  sqlite: "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
  sqlserver: "SYSUTCDATETIME()",
};

/** SHA-256, in hex, of what it does on one engine. */
export function checksum(migration: Migration, engine: Engine): string {
  const steps = migration.steps.map((step) => [step[engine].unless ?? "", step[engine].sql]);
  return createHash("sha256").update(JSON.stringify(steps)).digest("hex");
}

/** SQLite's form of T-SQL. `sqlite.ts` reads values by the declared types. */
function toSqlite(sql: string): string {
  return sql
    .replace(/\b(BIG)?INT IDENTITY\(1,1\) PRIMARY KEY/g, "INTEGER PRIMARY KEY AUTOINCREMENT")
    .replaceAll("NVARCHAR(MAX)", "TEXT COLLATE NOCASE")
    .replace(/\bN?(VAR)?CHAR\(\d+\)/g, "$& COLLATE NOCASE")
    .replace(/\bget(utc)?date\(\)/g, `(${NOW.sqlite})`)
    .replaceAll(NOW.sqlserver, NOW.sqlite)
    .replace(/\bN'/g, "'");
}

/** A SELECT that has a row when the table exists. */
export function tableExists(name: string): Readonly<Record<Engine, string>> {
  return {
    sqlite:
      "SELECT 1 AS found FROM sqlite_master " +
      `WHERE type = 'table' AND name = '${name}' COLLATE NOCASE`,
    sqlserver: `SELECT 1 AS found WHERE OBJECT_ID(N'${name}', N'U') IS NOT NULL`,
  };
}

/** Where it is missing. `columns` are T-SQL. */
export function createTable(name: string, columns: readonly string[]): Steps {
  const table = `${name} (\n${columns.map((column) => `  ${column}`).join(",\n")}\n)`;
  return {
    sqlite: { sql: `CREATE TABLE IF NOT EXISTS ${toSqlite(table)}` },
    sqlserver: { sql: `CREATE TABLE ${table}`, unless: tableExists(name).sqlserver },
  };
}

/** Where it is missing. */
export function addColumn(table: string, column: string, type: string): Steps {
  return {
    sqlite: {
      sql: toSqlite(`ALTER TABLE ${table} ADD COLUMN ${column} ${type}`),
      unless:
        `SELECT 1 AS found FROM pragma_table_info('${table}') ` +
        `WHERE name = '${column}' COLLATE NOCASE`,
    },
    sqlserver: {
      sql: `ALTER TABLE ${table} ADD ${column} ${type}`,
      unless: `SELECT 1 AS found WHERE COL_LENGTH(N'${table}', N'${column}') IS NOT NULL`,
    },
  };
}

/** An index, named `Table_by_what`, as none of the reference system's is. */
export function createIndex(name: string, on: string): Steps {
  const step = { sql: `CREATE INDEX ${name} ON ${on}` };
  return { sqlite: step, sqlserver: step };
}

/** Takes away an index of an earlier migration, where it still is. */
export function dropIndex(name: string, table: string): Steps {
  const exists = `SELECT 1 AS found FROM sys.indexes i WHERE i.name = N'${name}'`;
  return {
    sqlite: { sql: `DROP INDEX IF EXISTS ${name}` },
    sqlserver: {
      sql: `DROP INDEX ${name} ON ${table}`,
      unless: `SELECT 1 AS absent WHERE NOT EXISTS (${exists})`,
    },
  };
}

export function onlySqlite(sql: string): Steps {
  return { sqlite: { sql }, sqlserver: { sql: "SELECT 1 AS one" } };
}

/** A role, unless one of that number or name exists. */
export function seedRole(id: number, name: string, description: string): Steps {
  const values = `${id}, N'${name}', N'${description}'`;
  const where = `role_id = ${id} OR role_name = '${name}'`;
  const { sqlite, sqlserver } = seedRow("Roles", "role_id, role_name, description", values, where);
  const sql = `SET IDENTITY_INSERT Roles ON;\n${sqlserver.sql};\nSET IDENTITY_INSERT Roles OFF`;
  return { sqlite, sqlserver: { ...sqlserver, sql } };
}

/** A row, `values` in T-SQL, unless one `where` exists. */
export function seedRow(table: string, columns: string, values: string, where: string): Steps {
  const insert = `INSERT INTO ${table} (${columns})`;
  const unless = `SELECT 1 AS found FROM ${table} WHERE ${where}`;
  return {
    sqlite: { sql: `${insert} SELECT ${toSqlite(values)} WHERE NOT EXISTS (${unless})` },
    sqlserver: { sql: `${insert} VALUES (${values})`, unless },
  };
}
