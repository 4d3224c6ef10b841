import assert from "node:assert/strict";
import { join } from "node:path";
import { Readable } from "node:stream";
import { test } from "node:test";
import type { Database } from "../../src/data/database.ts";
import { LocalFolderStorage } from "../../src/storage/local-folder.ts";
import {
  GENERATIONS,
  type Generation,
  makeReferenceDatabase,
  REFERENCE_TABLES,
} from "../data/fixtures/reference.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { ENGINES, type Engine } from "../support/engines.ts";

/** Where the reference system put the bytes of the fixture's documents. */
const BLOBS = [
  "welcome.pdf",
  "finance/2025/report 50%.pdf",
  "الأرشيف/عقود/عقد.pdf",
  "finance/2025/it's [draft].png",
];

type Row = Record<string, unknown>;
type Rows = Map<string, Row[]>;

/** Every row of the reference system's tables, as far as the columns of `like` go (or all). */
async function rowsOf(database: Database, like?: Rows): Promise<Rows> {
  const all: Rows = new Map();
  for (const [table, id] of Object.entries(REFERENCE_TABLES)) {
    const [sample] = like?.get(table) ?? [];
    const columns = sample ? Object.keys(sample) : [...(await database.columns(table)).keys()];
    if (columns.length === 0 || (like && !sample)) continue;
    all.set(table, await database.all(`SELECT ${columns.join(", ")} FROM ${table} ORDER BY ${id}`));
  }
  return all;
}

for (const engine of ENGINES) {
  for (const generation of GENERATIONS) {
    test(`the ${generation} reference system is taken over, on ${engine.name}`, async (t) => {
      const { folder, env, open, remove } = await makeReferenceDatabase(engine, generation);
      t.after(remove);
      const storage = await LocalFolderStorage.open({ folder: join(folder, "blobs") });
      for (const key of BLOBS)
        await storage.upload(Readable.from([Buffer.from(`bytes of ${key}`)]), key);
      const untouched = await open();
      const before = await rowsOf(untouched);
      await untouched.close();

      const app = await startTestApp({ folder }, own(engine, env));
      try {
        await work(app, generation);
        await keepsAllElse(app.app.database, before);
      } finally {
        await app.close();
      }
    });
  }
}

/** An engine whose one database is there already, and is not for the app to remove. */
function own({ name }: Engine, env: Record<string, string>): Engine {
  return { name, open: async () => ({ env, remove: async () => {} }) };
}

async function work(app: TestApp, generation: Generation): Promise<void> {
  const login = (username: string, password: string) =>
    app.call("POST", "/api/v1/auth/login", { form: { username, password } });
  const admin = await login("admin@example.com", "Reference-Pass1");
  const layla = await login("Layla@Example.com", "كلمة-مرور-قديمة 1");
  assert.deepEqual([admin.status, layla.status], [200, 200]);
  assert.equal((await login("pending@example.com", "Reference-Pass1")).status, 403);
  assert.equal((await login("layla@example.com", "Reference-Pass1")).status, 401);

  await readOld(app, admin.body.access_token, layla.body.access_token);
  const docId = await upload(app, layla.body.access_token);
  await playWorker(app.app.database, docId);
  const { body } = await app.call("GET", `/api/v1/docs/${docId}/status`, {
    as: layla.body.access_token,
  });
  assert.deepEqual([body.status, body.end_time], ["Finished", "2026-02-26T14:30:09.000Z"]);
  if (generation === "newest") await showOldMetrics(app, admin.body.access_token);
  for (const id of [docId, 1]) {
    const deletion = await app.call("DELETE", `/api/v1/docs/${id}`, {
      as: admin.body.access_token,
    });
    assert.equal(deletion.status, 200);
  }
  await register(app, admin.body.access_token, generation);
}

async function readOld(app: TestApp, admin: string, layla: string): Promise<void> {
  const { body } = await app.call("GET", "/api/v1/docs", { as: admin });
  assert.equal(body.total, BLOBS.length);
  for (const { doc_id, path, filename } of body.items) {
    const key = path === "/" ? filename : `${path}/${filename}`;
    const { status, bytes } = await app.call("GET", `/api/v1/docs/${doc_id}/download`, {
      as: admin,
    });
    assert.deepEqual([status, bytes.toString()], [200, `bytes of ${key}`]);
  }
  const mine = await app.call("GET", "/api/v1/docs/me", { as: layla });
  assert.deepEqual(
    mine.body.items.map((item: { status: string }) => item.status),
    ["Failed", "Queued"],
  );
  const paths = await app.call("GET", "/api/v1/paths?minDepth=2", { as: layla });
  assert.deepEqual(
    paths.body.map((path: { depth: number }) => path.depth),
    [2, 2],
  );
}

async function upload(app: TestApp, as: string): Promise<number> {
  const multipart = [
    { name: "full_path", value: "finance" },
    { name: "file", filename: "new.txt", data: "new" },
  ];
  const { status, body } = await app.call("POST", "/api/v1/docs/upload", { as, multipart });
  assert.equal(status, 201);
  const { body: queued } = await app.call("GET", `/api/v1/docs/${body.doc_id}/status`, { as });
  assert.equal(queued.status, "Queued");
  const age = Date.now() - Date.parse(queued.start_time);
  assert.ok(age > -10_000 && age < 600_000, `queued ${age} ms ago`);
  return body.doc_id;
}

/** What the cloud worker writes, beside the second stage that it finds only when it is configured. */
async function playWorker(database: Database, docId: number): Promise<void> {
  const at = (second: number) => new Date(Date.UTC(2026, 1, 26, 14, 30, second));
  const updates = [
    ["status = 'Processing', start_time = @at", at(5)],
    ["status = 'Finished', end_time = @at", at(9)],
  ] as const;
  for (const [change, time] of updates) {
    const changed = await database.run(
      `UPDATE Processing_Status SET ${change} WHERE doc_id = @docId AND stage_name = 'OCR'`,
      { docId, at: time },
    );
    assert.equal(changed, 1);
  }
  const named = await database.run(
    "UPDATE Documents SET mongo_doc_id = @id WHERE doc_id = @docId",
    { docId, id: "66f2a7c1e4b0a1b2c3d4e5f8" },
  );
  assert.equal(named, 1);
  await database.run(
    `INSERT INTO Ocr_Results (doc_id, page_count, word_count, avg_confidence, primary_language,
       category, classification_confidence, cost_usd_ocr, cost_usd_classification)
     VALUES (@docId, 1, 1, 0.75, 'en', 'Letters', 0.5, 0.0015, 0.0002)`,
    { docId },
  );
}

/** Of a document's rows the newest counts; one that was not classified has no classification. */
async function showOldMetrics(app: TestApp, as: string): Promise<void> {
  const { body: first } = await app.call("GET", "/api/v1/docs/1", { as });
  assert.deepEqual(first.ocr, {
    page_count: 2,
    word_count: 312,
    avg_confidence: 0.9375,
    primary_language: "en",
    cost_usd: 0.0015,
    processed_at: "2025-01-09T08:30:00.000Z",
  });
  assert.deepEqual(first.classification, {
    category: "Letters",
    confidence: 0.75,
    cost_usd: 0.0002,
  });
  assert.equal(first.stages.length, 2);
  const { body: third } = await app.call("GET", "/api/v1/docs/3", { as });
  assert.deepEqual([third.ocr.avg_confidence, third.classification], [0.25, null]);
}

/** The oldest databases have no user without a role: there it is the lowest. */
async function register(app: TestApp, as: string, generation: Generation): Promise<void> {
  const role = generation === "oldest" ? ["User", 1] : [null, null];
  const json = { full_name: "Salma Haddad", email: "salma@example.com", password: "pass phrase 1" };
  const { status, body } = await app.call("POST", "/api/v1/auth/register", { json });
  assert.deepEqual([status, body.is_active, body.role, body.role_id], [201, false, ...role]);
  for (const role_id of [2, null]) {
    const patch = await app.call("PATCH", `/api/v1/users/${body.user_id}`, {
      as,
      json: { role_id },
    });
    assert.deepEqual([patch.status, patch.body.role_id], [200, role_id ?? role[1]]);
  }
}

/** What was there is there as it was, but for document 1 and what hung on it. */
async function keepsAllElse(database: Database, before: Rows): Promise<void> {
  const now = await rowsOf(database, before);
  for (const [table, rows] of before) {
    const id = String(REFERENCE_TABLES[table]);
    const known = new Set(rows.map((row) => row[id]));
    assert.deepEqual(
      now.get(table)?.filter((row) => known.has(row[id])),
      rows.filter((row) => row.doc_id !== 1),
      table,
    );
  }
}
