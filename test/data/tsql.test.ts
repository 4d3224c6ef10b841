import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { migrations, recordTable } from "../../src/data/migrations/index.ts";
import { openSqlServer } from "../../src/data/sqlserver.ts";
import { openStandInDatabase } from "../support/tds/database.ts";
import { assertTsql } from "../support/tsql.ts";
import { GENERATIONS, referenceSchema } from "./fixtures/reference.ts";

describe("T-SQL", () => {
  for (const migration of migrations) {
    it(`is what the migration ${migration.name} sends`, () => {
      for (const { sqlserver } of [recordTable, ...migration.steps]) {
        assertTsql(sqlserver.sql);
        if (sqlserver.unless !== undefined) assertTsql(sqlserver.unless);
      }
    });
  }

  it("is what the reference fixture holds", () => {
    for (const generation of GENERATIONS) {
      for (const statement of referenceSchema(generation)) assertTsql(statement);
    }
  });

  it("is what the engine makes of paging and of inserting", async () => {
    const standIn = await openStandInDatabase();
    const database = await openSqlServer(standIn.options);
    await database.migrate();
    standIn.statements.clear();
    await database.transaction((tx) => tx.insert("Roles", { role_name: "x" }, "role_id"));
    await database.page(
      "SELECT r.role_id AS id FROM Roles r ORDER BY r.role_id",
      {},
      { skip: 0, limit: 1 },
    );
    await database.close();
    await standIn.remove();
    assert.deepEqual(
      [...standIn.statements],
      [
        "INSERT INTO Roles (role_name) OUTPUT INSERTED.role_id AS id VALUES (@role_name)",
        "SELECT r.role_id AS id FROM Roles r ORDER BY r.role_id OFFSET @page_skip ROWS FETCH NEXT @page_limit ROWS ONLY",
      ],
    );
    for (const statement of standIn.statements) assertTsql(statement);
  });

  const foreign = [
    "SELECT a FROM b LIMIT 5",
    "SELECT a || b AS c FROM d",
    "SELECT LENGTH(a) AS b FROM c",
    "SELECT a FROM b WHERE c = TRUE",
    "SELECT a FROM b WHERE",
    "SELEC a FROM b",
    "INSERT INTO a (b) VALUES (1) RETURNING b",
    "INSERT INTO a (b) VALUES (1) ON CONFLICT DO NOTHING",
    "INSERT OR IGNORE INTO a (b) VALUES (1)",
    "SELECT a FROM b ORDER BY a NULLS LAST",
  ];
  for (const statement of foreign) {
    it(`is not: ${statement}`, () => {
      assert.throws(() => assertTsql(statement), assert.AssertionError);
    });
  }
});
