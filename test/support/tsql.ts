import assert from "node:assert/strict";
import { Dialect, transpile } from "@polyglot-sql/sdk";

/** What the grammar lets through although SQL Server has no such thing. */
const FOREIGN = /\b(RETURNING|ON CONFLICT|INSERT OR|REPLACE INTO|AUTOINCREMENT|PRAGMA)\b/i;

/**
 * Fails unless `text` is T-SQL. A parser alone would accept other dialects' SQL; read as T-SQL and written as T-SQL again it must also
 * stay the same, but for the spellings below that mean the same (LIMIT would have become TOP, `||` a `+`, LENGTH a LEN).
 */
export function assertTsql(text: string): void {
  assert.doesNotMatch(text, FOREIGN);
  const { success, sql, error } = transpile(text, Dialect.TSQL, Dialect.TSQL);
  assert.ok(success && sql, `${error}\n${text}`);
  assert.equal(normalised(sql.join(";")), normalised(text));
}

function normalised(text: string): string {
  return (
    text
      .replace(/--[^\n]*/g, " ")
      // The grammar's writer forgets to double a quote in N'…'.
      .replaceAll("''", "'")
      .replace(/\bISNULL\(/gi, "COALESCE(")
      .replace(/\bINTEGER\b/g, "INT")
      .replace(/\bAS\b/g, " ")
      .replace(/\bEXECUTE\b/g, "EXEC")
      .replace(/\bINNER JOIN\b/g, "JOIN")
      .replace(/<>/g, "!=")
      .replace(/\s+/g, " ")
      .replace(/ ?([(),;=]) ?/g, "$1")
      .trim()
      .toLowerCase()
  );
}
