import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, it, type TestContext } from "node:test";
import { promisify } from "node:util";
import bcrypt from "bcryptjs";
import type { Database } from "../../src/data/database.ts";
import { migrations, recordTable } from "../../src/data/migrations/index.ts";
import { checksum } from "../../src/data/migrations/migration.ts";
import { openSqlite } from "../../src/data/sqlite.ts";
import { ENGINES, type Engine } from "../support/engines.ts";
import {
  GENERATIONS,
  type Generation,
  makeReferenceDatabase,
  REFERENCE_TABLES,
} from "./fixtures/reference.ts";

const ALL = [
  "0000-path-depth",
  "0001-reference-tables",
  "0002-server-tables",
  "0003-ocr-results",
  "0004-audit-chain",
  "0005-ocr-progress",
  "0006-begun-deletions",
  "0007-list-indexes",
];

async function temporaryFile(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-migrations-"));
  t.after(() => rm(folder, { recursive: true }));
  return join(folder, "nassaq.db");
}

/** Runs `use` on the file itself, past the server. */
function raw<Result>(file: string, use: (database: DatabaseSync) => Result): Result {
  const database = new DatabaseSync(file);
  try {
    return use(database);
  } finally {
    database.close();
  }
}

/** Runs the migrations in `names` and no other, as a release that had only these did. */
function runAlone(file: DatabaseSync, names: string[]) {
  for (const migration of migrations.filter(({ name }) => names.includes(name))) {
    for (const { sqlite } of [recordTable, ...migration.steps])
      if (sqlite.unless === undefined || !file.prepare(sqlite.unless).get()) file.exec(sqlite.sql);
    file
      .prepare("INSERT INTO Schema_Migrations (name, checksum, applied_at) VALUES (?, ?, '2026')")
      .run(migration.name, checksum(migration, "sqlite"));
  }
}

type Columns = Map<string, Map<string, boolean>>;

/** The reference system's tables that are there, each with its columns and whether they take NULL. */
async function columnsOf(database: Database): Promise<Columns> {
  const found: Columns = new Map();
  for (const table of Object.keys(REFERENCE_TABLES)) {
    const columns = await database.columns(table);
    if (columns.size > 0) found.set(table, columns);
  }
  return found;
}

/** Every row of these tables, and of these columns what the database says of them now. */
async function snapshot(database: Database, tables: Columns): Promise<unknown> {
  const found = [];
  for (const [table, columns] of tables) {
    const now = await database.columns(table);
    const names = [...columns.keys()];
    const rows = await database.all(
      `SELECT ${names.join(", ")} FROM ${table} ORDER BY ${REFERENCE_TABLES[table]}`,
    );
    assert.ok(rows.length > 1, table);
    found.push([table, names.map((name) => [name, now.get(name)]), rows]);
  }
  return found;
}

/** A database of the reference system, open; closed and removed after the test. */
async function reference(t: TestContext, engine: Engine, generation: Generation) {
  const made = await makeReferenceDatabase(engine, generation);
  const database = await made.open();
  t.after(async () => {
    await database.close();
    await made.remove();
  });
  return { ...made, database };
}

const embedded = ENGINES[0];

describe("A database of the reference system", () => {
  for (const engine of ENGINES) {
    for (const generation of GENERATIONS) {
      it(`of the ${generation} generation is adopted as it is, on ${engine.name}`, async (t) => {
        const { database } = await reference(t, engine, generation);
        const tables = await columnsOf(database);
        assert.equal(tables.has("Rag_Ingest"), generation === "newest");
        assert.equal(tables.has("Ocr_Results"), generation === "newest");
        assert.equal(tables.get("Users")?.get("role_id"), generation !== "oldest");
        assert.equal(tables.get("Virtual_Paths")?.has("depth"), generation !== "oldest");
        const before = await snapshot(database, tables);
        assert.deepEqual(await database.migrate(), ALL);
        assert.deepEqual(await snapshot(database, tables), before);
        assert.deepEqual(await database.migrate(), []);

        const paths = await database.all(
          "SELECT full_path AS path, depth FROM Virtual_Paths ORDER BY path_id",
        );
        assert.deepEqual(paths, [
          { path: "/", depth: 0 },
          { path: "finance", depth: 1 },
          { path: "finance/2025", depth: 2 },
          { path: "الأرشيف/عقود", depth: 2 },
        ]);
        assert.equal((await database.columns("Ocr_Results")).get("category"), true);
        assert.equal((await database.columns("Rag_Ingest")).size > 0, generation === "newest");
      });
    }

    it(`keeps passwords, long names, times and documents without a key, on ${engine.name}`, async (t) => {
      const { database } = await reference(t, engine, "oldest");
      await database.migrate();
      const user = await database.first<{ hash: string; active: boolean; created: Date }>(
        "SELECT password_hash AS hash, is_active AS active, created_at AS created FROM Users WHERE email = @email",
        { email: "layla@example.com" },
      );
      assert.ok(user && (await bcrypt.compare("كلمة-مرور-قديمة 1", user.hash)));
      assert.deepEqual(
        [user.active, user.created.toISOString()],
        [true, "2025-02-11T09:30:15.123Z"],
      );
      const clerk = await database.first<{ name: string; email: string }>(
        "SELECT username AS name, email FROM Users WHERE user_id = 4",
      );
      assert.deepEqual([clerk?.name.length, clerk?.email.length], [40, 90]);

      const documents = await database.all(
        `SELECT p.full_path AS path, d.filename AS name, d.blob_key AS blobKey, d.sha256 AS sha256, d.file_size AS size
         FROM Documents d JOIN Virtual_Paths p ON p.path_id = d.path_id ORDER BY d.doc_id`,
      );
      const none = { blobKey: null, sha256: null, size: null };
      assert.deepEqual(documents, [
        { path: "/", name: "welcome.pdf", ...none },
        { path: "finance/2025", name: "report 50%.pdf", ...none },
        { path: "الأرشيف/عقود", name: "عقد.pdf", ...none },
        { path: "finance/2025", name: "it's [draft].png", ...none },
      ]);
      const next = await database.insert(
        "Documents",
        {
          filename: "new.pdf",
          path_id: 1,
          uploaded_by_user_id: 1,
          mongo_doc_id: "pending",
          uploaded_at: new Date(),
        },
        "doc_id",
      );
      assert.equal(next, 10);
    });
  }

  it("gets what it lacks: a table, a role, the root", async (t) => {
    const { database, folder } = await reference(t, embedded, "middle");
    raw(join(folder, "nassaq.db"), (file) => {
      file.exec(
        "PRAGMA foreign_keys = OFF; DROP TABLE Individual_Permissions; DELETE FROM Roles WHERE role_id = 99",
      );
      file.exec(
        "DELETE FROM Virtual_Paths WHERE full_path = '/'; ALTER TABLE Documents ADD COLUMN sha256 CHAR(64)",
      );
    });
    assert.deepEqual(await database.migrate(), ALL);
    assert.deepEqual(await database.all("SELECT * FROM Individual_Permissions"), []);
    const roles = await database.all(
      "SELECT role_id AS id, description AS text FROM Roles ORDER BY role_id",
    );
    assert.deepEqual(roles, [
      { id: 1, text: "Default role of the reference system" },
      { id: 2, text: "أمين الأرشيف" },
      { id: 99, text: "Manages accounts, paths and every document" },
    ]);
    assert.ok(
      await database.first("SELECT path_id FROM Virtual_Paths WHERE full_path = '/' AND depth = 0"),
    );
  });

  it("that the first release of this server adopted gets what came since", async (t) => {
    const { database, folder } = await reference(t, embedded, "middle");
    raw(join(folder, "nassaq.db"), (file) => {
      runAlone(file, ["0001-reference-tables", "0002-server-tables"]);
      file.exec(
        "INSERT INTO Virtual_Paths (full_path, depth, created_at) VALUES ('odd', 7, '2026')",
      );
    });
    const tables = await columnsOf(database);
    const before = await snapshot(database, tables);
    assert.deepEqual(await database.migrate(), [
      "0000-path-depth",
      "0003-ocr-results",
      "0004-audit-chain",
      "0005-ocr-progress",
      "0006-begun-deletions",
      "0007-list-indexes",
    ]);
    assert.deepEqual(await snapshot(database, tables), before);
    assert.ok((await database.columns("Deletions")).has("sha256"));
  });
});

describe("Migrations", () => {
  it("make the tables and columns of the specification", async (t) => {
    const database = openSqlite({ file: ":memory:" });
    t.after(() => database.close());
    await database.migrate();
    const expected = {
      Roles: "role_id role_name description",
      Actions: "action_id action_name entity_type",
      Role_Actions: "role_action_id role_id action_id",
      Users: "user_id username full_name email password_hash created_at is_active role_id",
      Virtual_Paths: "path_id full_path created_at description depth",
      Documents:
        "doc_id filename path_id uploaded_by_user_id mongo_doc_id uploaded_at updated_at file_size content_type file_type description sha256 blob_key",
      Processing_Status:
        "status_id doc_id stage_name status start_time end_time error_message pages_done pages_total",
      Individual_Permissions:
        "permission_id user_id action_id entity_id entity_type is_allowed is_inherited",
      Ocr_Results:
        "result_id doc_id page_count word_count avg_confidence primary_language category classification_confidence cost_usd_ocr cost_usd_classification processed_at",
      Logs: "log_id log_timestamp action_type user_id entity_id details row_mac chain_epoch chain_sequence chain_mac",
    };
    for (const [table, names] of Object.entries(expected))
      assert.equal([...(await database.columns(table)).keys()].join(" "), names, table);
  });

  it("that were released are never edited", () => {
    const sums = Object.fromEntries(
      migrations.map((migration) => [
        migration.name,
        { sqlite: checksum(migration, "sqlite"), sqlserver: checksum(migration, "sqlserver") },
      ]),
    );
    // Databases hold these sums. A change of the schema is a new migration.
    assert.deepEqual(sums, {
      "0000-path-depth": {
        sqlite: "74dcb18dcee3e2fc01f940d2ffae6081d660d48a75e2be7d25199d5fee6a2e4a",
        sqlserver: "2cea49a58ea8368e3fe20ff67257619012b7e0af84a051018a3650098b034c4d",
      },
      "0001-reference-tables": {
        sqlite: "1ae1b645e4504ac617e6fb9ec649a1a2bb94c1967d38a2b0a1f0918cc051fa50",
        sqlserver: "2adb5a017ecdea4c82fc07cfc58c165abe4bedf0a506141749b4d28b068f0e96",
      },
      "0002-server-tables": {
        sqlite: "368221f47552e329d003897b89207df39163d4feb17e67a9df5c947b229caca2",
        sqlserver: "090a462b45f6a9a25365aabcb4073b604fcdfe3462c88257c15e01e64d145f8e",
      },
      "0003-ocr-results": {
        sqlite: "38f92ffc53032796269da1ae4319acf355473124984c8dda16aa0e7e0b862e67",
        sqlserver: "2abfbd653e1cdc14438aecd0ddc0f20fc1d07b8af2736c095ace419e2082f623",
      },
      "0004-audit-chain": {
        sqlite: "1d6bc15db5d9561980d32449e242f744aba994051bdfebd87d0b332af3731601",
        sqlserver: "9c09ca71de54bed8ea541b8e62e6b4fe1a45ace06166df66295a32092bcab697",
      },
      "0007-list-indexes": {
        sqlite: "860721d081b1ca9aced4fa578e7f9e9ac6173cc7b793713495e04c0d75f0203f",
        sqlserver: "a574e2f22859a0d7b0127bb1e78c0807b8ebe3422aa6ed96a932ff0302934c07",
      },
      "0006-begun-deletions": {
        sqlite: "0b9d86615e25308aa50a28029b1ee1c3f97bceaabb6cb2fb7edfde2854c53f28",
        sqlserver: "69f3594da2973ab64806be0161c53070a70a11051ac14d763ba5c52e630049a9",
      },
      "0005-ocr-progress": {
        sqlite: "9b99e4fa0fec3a0559da52375158a237d618f6c3291ff0c102e18bcdd490033e",
        sqlserver: "4410706b5539304b42e612e973329b22040d0e8be931b8b398986af64f0c01c2",
      },
    });
  });

  it("have names that sort in their order, and none twice", () => {
    const names = migrations.map((migration) => migration.name);
    assert.deepEqual(names, [...new Set(names)].sort());
    for (const name of names) assert.match(name, /^\d{4}-[a-z0-9-]{1,90}$/);
  });

  it("that fail leave nothing behind", async (t) => {
    const file = await temporaryFile(t);
    // An index has the name that a late step wants.
    raw(file, (database) =>
      database.exec(
        "CREATE TABLE Users_by_role (x); CREATE INDEX Logs_by_time ON Users_by_role (x)",
      ),
    );
    const database = openSqlite({ file });
    t.after(() => database.close());
    await assert.rejects(database.migrate());
    assert.deepEqual(await database.pendingMigrations(), ALL);
    const found = await database.all(
      "SELECT name FROM sqlite_master WHERE name IN ('Sessions', 'Outbox', 'Logs')",
    );
    assert.deepEqual(found, []);
  });

  it("run once when several processes start together", async (t) => {
    const file = await temporaryFile(t);
    const program = `
      import { openSqlite } from "./src/data/sqlite.ts";
      const database = openSqlite({ file: process.env.DATABASE_FILE });
      const ran = await database.migrate();
      await database.close();
      process.stdout.write(JSON.stringify(ran));`;
    const root = new URL("../..", import.meta.url).pathname;
    const processes = Array.from({ length: 3 }, () =>
      promisify(execFile)(
        process.execPath,
        ["--import", "tsx", "--input-type=module", "--eval", program],
        {
          cwd: root,
          env: { ...process.env, DATABASE_FILE: file },
        },
      ),
    );
    const outputs = await Promise.all(processes);
    assert.deepEqual(outputs.flatMap(({ stdout }) => JSON.parse(stdout)).sort(), ALL);
  });
});
