import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, it } from "node:test";
import { listAuditRows } from "../../src/data/audit.ts";
import type { Database } from "../../src/data/database.ts";
import { listDocuments } from "../../src/data/documents.ts";
import { openSqlite } from "../../src/data/sqlite.ts";

const NOON = new Date("2026-02-26T12:00:00Z");
const WINDOW = { skip: 0, limit: 20 };

const lists: Record<string, (database: Database) => Promise<{ total: number }>> = {};
for (const filter of [
  {},
  { userId: 1 },
  { path: "a" },
  { path: "a", recursive: true },
  { status: "Queued" },
  { status: "Failed" },
  { status: "Failed", userId: 1 },
  { q: "a" },
  { q: "report" },
  { q: "report", status: "Queued", path: "a", userId: 1 },
] as const)
  lists[`documents ${JSON.stringify(filter)}`] = (database) =>
    listDocuments(database, filter, WINDOW);
for (const filter of [{}, { action: "login" }, { userId: 1 }, { since: NOON, until: NOON }])
  lists[`audit rows ${JSON.stringify(filter)}`] = (database) =>
    listAuditRows(database, filter, WINDOW);

describe("A list", () => {
  for (const [name, list] of Object.entries(lists))
    it(`of ${name} goes down an index, in few statements`, async (t) => {
      const folder = await mkdtemp(join(tmpdir(), "nassaq-plans-"));
      const file = join(folder, "nassaq.db");
      const database = openSqlite({ file });
      t.after(async () => {
        await database.close();
        await rm(folder, { recursive: true });
      });
      await database.migrate();
      const raw = new DatabaseSync(file);
      t.after(() => raw.close());
      raw.exec(`INSERT INTO Documents (filename, path_id, uploaded_by_user_id, mongo_doc_id)
        SELECT 'report', 1, u.user_id, 'x' FROM Users u`);
      const prepare = DatabaseSync.prototype.prepare;
      const texts = new Set<string>();
      t.mock.method(DatabaseSync.prototype, "prepare", function (this: DatabaseSync, text: string) {
        texts.add(text);
        return prepare.call(this, text);
      });
      await list(database);
      assert.ok(texts.size <= 4, [...texts].join("\n"));
      for (const text of texts) {
        const plan = prepare.call(raw, `EXPLAIN QUERY PLAN ${text}`).all();
        const steps = plan.map((step) => String(step.detail)).join("\n");
        // All rows, in the order of their keys, are read as far as the LIMIT.
        const isUnfiltered = name.endsWith("{}");
        assert.doesNotMatch(steps, isUnfiltered ? /TEMP B-TREE/ : /SCAN [dflpsuv]\b|TEMP B-TREE/);
      }
    });
});

describe("A walk", () => {
  it("pages over ranges and gaps, by any part of a name as it is now", async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "nassaq-walk-"));
    const file = join(folder, "nassaq.db");
    const database = openSqlite({ file });
    t.after(async () => {
      await database.close();
      await rm(folder, { recursive: true });
    });
    await database.migrate();
    await database.run(
      `INSERT INTO Users (user_id, username, full_name, email, password_hash, is_active)
       VALUES (1, 'u', 'U', 'u@example.com', 'x', 1)`,
    );
    const ids = [1, 2, 4_999, 5_000, 5_001, 9_000, 300_000, 300_001];
    for (const id of ids)
      await database.run(
        `INSERT INTO Documents (doc_id, filename, path_id, uploaded_by_user_id, mongo_doc_id)
         VALUES (@id, @name, (SELECT MIN(path_id) FROM Virtual_Paths), 1, 'pending')`,
        { id, name: `Report_50% ${id}.pdf` },
      );
    const found = async (q: string, skip = 0, limit = 100) => {
      const { rows, total, isExact } = await listDocuments(database, { q }, { skip, limit });
      assert.ok(isExact);
      return { ids: rows.map(({ docId }) => docId), total };
    };
    const newest = ids.toReversed();
    for (const q of ["r", "0%", "report_50%", "PDF", "_50% "]) {
      assert.deepEqual(await found(q), { ids: newest, total: 8 }, q);
      assert.deepEqual(await found(q, 1, 3), { ids: newest.slice(1, 4), total: 8 }, q);
      assert.deepEqual(await found(q, 9), { ids: [], total: 8 }, q);
    }
    assert.deepEqual(await found("report%50"), { ids: [], total: 0 });
    await database.run("UPDATE Documents SET filename = 'عقد.pdf' WHERE doc_id = 9000");
    await database.run("DELETE FROM Documents WHERE doc_id = 5000");
    assert.deepEqual(await found("عقد"), { ids: [9_000], total: 1 });
    assert.deepEqual(await found("report"), {
      ids: newest.filter((id) => id !== 9_000 && id !== 5_000),
      total: 6,
    });
  });
});
