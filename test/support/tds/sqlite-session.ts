import { DatabaseSync, type SQLOutputValue, type StatementSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import type { Call, Cell, ColumnType, ResultSet } from "./protocol.ts";
import type { Answer, Session, TransactionStep } from "./server.ts";

/**
 * Answers statements from a SQLite file, so that the Database contract runs through the real driver. T-SQL that SQLite lacks is
 * rewritten; what this proves is the way there and back, not that SQL Server would accept the statement. As with READ COMMITTED,
 * transactions interleave: one reads what is committed, and waits for another only when it writes.
 */
export function sqliteSession(
  file: string,
  onStatement: (text: string) => void = () => {},
): Session {
  const database = new DatabaseSync(file, { timeout: 0, enableForeignKeyConstraints: true });
  database.function("datalength", { deterministic: true }, (value) => 2 * String(value).length);
  database.function("lower", { deterministic: true }, (value) => String(value).toLowerCase());
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF");
  let isInTransaction = false;

  async function answer(work: () => Answer): Promise<Answer> {
    for (;;) {
      try {
        return work();
      } catch (error) {
        const code = (error as { errcode?: number }).errcode ?? 0;
        if ((code & 0xff) === 5) await delay(2);
        else return { error: ERRORS.get(code) ?? 208 };
      }
    }
  }

  return {
    call({ text, params }: Call) {
      // The pool's own check, as the driver words it.
      if (text !== "SELECT 1;") onStatement(text);
      return answer(() => {
        const isRead = text.startsWith("SELECT");
        if (isInTransaction && !isRead && !database.isTransaction) database.exec("BEGIN IMMEDIATE");
        if (text.includes("sp_getapplock")) {
          return { result: { columns: [{ name: "result", type: "bigint" }], rows: [[0]] } };
        }
        const values = Object.entries(params).map(([name, { cell }]) => [
          name,
          toSqlite(text.includes(`LIKE @${name} ESCAPE`) ? unbracketed(cell) : cell),
        ]);
        // A batch; its last statement answers.
        let last: Answer = {};
        for (const sql of translate(text).split(";\n")) {
          const statement = database.prepare(sql);
          statement.setAllowUnknownNamedParameters(true);
          last =
            statement.columns().length === 0
              ? { rowsAffected: Number(statement.run(Object.fromEntries(values)).changes) }
              : { result: resultSet(statement, Object.fromEntries(values)) };
        }
        return last;
      });
    },
    transaction: (step: TransactionStep) =>
      answer(() => {
        if (step !== "begin" && database.isTransaction) database.exec(step);
        isInTransaction = step === "begin";
        return {};
      }),
    end() {
      if (database.isOpen) database.close();
    },
  };
}

/** SQLite has no sets of characters in patterns; the server sends none but `[[]`. */
function unbracketed(cell: Cell): Cell {
  return typeof cell === "string" ? cell.replaceAll("[[]", "[") : cell;
}

/** SQLite's extended result codes to SQL Server's numbers. */
const ERRORS = new Map([
  [2067, 2627],
  [1555, 2627],
  [787, 547],
]);

function translate(text: string): string {
  const sql = text
    .replace(/;?\n?SET IDENTITY_INSERT \w+ (ON;\n|OFF)/g, "")
    .replace(/ OUTPUT INSERTED\.(\w+) AS id (VALUES \([^()]*\))/g, " $2 RETURNING $1 AS id")
    .replace(/OFFSET (@\w+) ROWS FETCH NEXT (@\w+) ROWS ONLY/g, "LIMIT $2 OFFSET $1")
    .replace(/\(SELECT TOP \((\d+)\) (.*)\) x$/s, "(SELECT $2 LIMIT $1) x")
    .replace(/^(DROP INDEX \w+) ON \w+$/, "$1")
    .replace("sys.indexes i", "(SELECT name FROM sqlite_master WHERE type = 'index') i")
    .replace(
      /OBJECT_ID\(N'(\w+)', N'U'\) IS NOT NULL/g,
      "EXISTS (SELECT 1 FROM sqlite_master WHERE name = '$1')",
    )
    .replace(
      /COL_LENGTH\(N'(\w+)', N'(\w+)'\) IS NOT NULL/g,
      "EXISTS (SELECT 1 FROM pragma_table_info('$1') WHERE name = '$2')",
    )
    .replace(
      /sys\.columns c\s+WHERE c\.object_id = OBJECT_ID\((@\w+), N'U'\)/,
      '(SELECT name, 1 - "notnull" AS is_nullable FROM pragma_table_info($1)) c',
    )
    .replace(/\bN'/g, "'")
    .replaceAll("SYSUTCDATETIME()", "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')");
  if (!/^(CREATE TABLE|ALTER TABLE)/.test(sql)) return sql;
  return sql
    .replace(/(BIG)?INT IDENTITY\(1,1\)/g, "INTEGER")
    .replace(/INTEGER PRIMARY KEY/g, "INTEGER PRIMARY KEY AUTOINCREMENT")
    .replaceAll("NVARCHAR(MAX)", "TEXT COLLATE NOCASE")
    .replace(/\bN?(VAR)?CHAR\(\d+\)/g, "$& COLLATE NOCASE")
    .replace(/get(utc)?date\(\)/g, "CURRENT_TIMESTAMP");
}

function toSqlite(cell: Cell): string | bigint | null {
  if (cell instanceof Date) return cell.toISOString();
  return typeof cell === "string" || cell === null ? cell : BigInt(cell);
}

/** Types by declaration where a column has one, else by the first value. */
function resultSet(
  statement: StatementSync,
  values: Record<string, string | bigint | null>,
): ResultSet {
  const rows = statement.all(values);
  const columns = statement.columns().map(({ name, type }) => {
    const sample = rows.find((row) => row[name] !== null)?.[name];
    return { name, type: columnType(type, sample) };
  });
  return {
    columns,
    rows: rows.map((row) => columns.map(({ name, type }) => toCell(row[name] ?? null, type))),
  };
}

function columnType(declared: string | null, sample: SQLOutputValue | undefined): ColumnType {
  if (declared === "BIT") return "bit";
  if (declared?.startsWith("DATETIME")) return "datetime2";
  if (declared === "FLOAT") return "float";
  return typeof sample === "number" || /INT/.test(declared ?? "") ? "bigint" : "nvarchar";
}

function toCell(value: SQLOutputValue, type: ColumnType): Cell {
  if (value === null) return null;
  if (type === "bit") return value === 1;
  return type === "datetime2" ? new Date(String(value)) : (value as string | number);
}
