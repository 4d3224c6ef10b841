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
        assert.doesNotMatch(steps, isUnfiltered ? /TEMP B-TREE/ : /SCAN [dflpsv]\b|TEMP B-TREE/);
      }
    });
});
