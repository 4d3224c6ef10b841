import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, it, type TestContext } from "node:test";
import { promisify } from "node:util";
import bcrypt from "bcryptjs";
import type { Database } from "../../src/data/database.ts";
import { migrationScript, migrations } from "../../src/data/migrations/index.ts";
import { checksum } from "../../src/data/migrations/migration.ts";
import { openSqlite } from "../../src/data/sqlite.ts";
import { openSqlServer } from "../../src/data/sqlserver.ts";
import { testServer } from "../support/sqlserver.ts";
import { startStandIn } from "../support/tds/server.ts";
import { sqliteSession } from "../support/tds/sqlite-session.ts";

const ALL = ["0001-reference-tables", "0002-server-tables"];
const REFERENCE_TABLES = [
  "Roles",
  "Actions",
  "Role_Actions",
  "Users",
  "Virtual_Paths",
  "Documents",
  "Processing_Status",
  "Individual_Permissions",
  "Logs",
];

const fixture = (engine: "sqlite" | "tsql") =>
  readFile(new URL(`fixtures/reference-schema.${engine}.sql`, import.meta.url), "utf8");

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

/** Definitions and rows of the reference system's tables; rows as far as its columns go. */
function snapshot(file: string, columns: Map<string, string>): unknown {
  return raw(file, (database) =>
    REFERENCE_TABLES.map((table) => [
      table,
      database.prepare(`SELECT ${columns.get(table)} FROM ${table}`).all(),
    ]),
  );
}

function columnsOf(file: string): Map<string, string> {
  return raw(
    file,
    (database) =>
      new Map(
        REFERENCE_TABLES.map((table) => [
          table,
          database
            .prepare("SELECT name FROM pragma_table_info(?)")
            .all(table)
            .map((row) => row.name)
            .join(", "),
        ]),
      ),
  );
}

/** Migrates with `open`ed databases, twice in a row, and checks that nothing that was there has changed. */
async function adopt(file: string, open: () => Promise<Database>): Promise<void> {
  const columns = columnsOf(file);
  const before = snapshot(file, columns);
  for (const expected of [ALL, []]) {
    const database = await open();
    assert.deepEqual(await database.migrate(), expected);
    await database.close();
    assert.deepEqual(snapshot(file, columns), before);
  }
  raw(file, (database) => {
    assert.deepEqual(database.prepare("PRAGMA foreign_key_check").all(), []);
    assert.equal(database.prepare("PRAGMA integrity_check").get()?.integrity_check, "ok");
  });
}

describe("A database of the reference system", () => {
  it("is adopted twice in a row without changing a row", async (t) => {
    const file = await temporaryFile(t);
    const script = await fixture("sqlite");
    raw(file, (database) => database.exec(script));
    await adopt(file, async () => openSqlite({ file }));
  });

  it("is adopted the same way by the SQL Server engine", async (t) => {
    const file = await temporaryFile(t);
    const script = await fixture("sqlite");
    raw(file, (database) => database.exec(script));
    const standIn = await startStandIn({ open: () => sqliteSession(file) });
    t.after(() => standIn.close());
    const options = {
      ...testServer("nassaq"),
      server: "127.0.0.1",
      port: standIn.port,
      instance: undefined,
    };
    await adopt(file, () => openSqlServer({ ...options, encrypt: false }));
  });

  it("keeps its users' passwords, its times, and documents without a blob key", async (t) => {
    const file = await temporaryFile(t);
    const script = await fixture("sqlite");
    raw(file, (database) => database.exec(script));
    const database = openSqlite({ file });
    t.after(() => database.close());
    await database.migrate();

    const user = await database.first<{ hash: string; active: boolean; created: Date }>(
      "SELECT password_hash AS hash, is_active AS active, created_at AS created FROM Users WHERE email = @email",
      { email: "layla@example.com" },
    );
    assert.ok(user && (await bcrypt.compare("كلمة-مرور-قديمة 1", user.hash)));
    assert.deepEqual([user.active, user.created.toISOString()], [true, "2025-02-11T09:30:15.123Z"]);

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

  it("gets what it lacks: a table, a role, the root", async (t) => {
    const file = await temporaryFile(t);
    const script = await fixture("sqlite");
    raw(file, (database) => {
      database.exec(script);
      database.exec(
        "PRAGMA foreign_keys = OFF; DROP TABLE Individual_Permissions; DELETE FROM Roles WHERE role_id = 99",
      );
      database.exec(
        "DELETE FROM Virtual_Paths WHERE full_path = '/'; ALTER TABLE Documents ADD COLUMN sha256 CHAR(64)",
      );
    });
    const database = openSqlite({ file });
    t.after(() => database.close());
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

  it("is the same database in both fixtures", async () => {
    const inserts = (text: string) =>
      text
        .replace(/\bN'/g, "'")
        .split("\n")
        .filter((line) => line.startsWith("INSERT"));
    const [sqlite, tsql] = [inserts(await fixture("sqlite")), inserts(await fixture("tsql"))];
    assert.ok(sqlite.length > 20);
    assert.deepEqual(sqlite, tsql);
  });
});

describe("Migrations", () => {
  it("make the tables and columns of the specification", () => {
    const database = new DatabaseSync(":memory:");
    database.exec(migrationScript("sqlite"));
    const columns = (table: string) =>
      database
        .prepare("SELECT name FROM pragma_table_info(?)")
        .all(table)
        .map((row) => row.name)
        .join(" ");
    const expected = {
      Roles: "role_id role_name description",
      Actions: "action_id action_name entity_type",
      Role_Actions: "role_action_id role_id action_id",
      Users: "user_id username full_name email password_hash created_at is_active role_id",
      Virtual_Paths: "path_id full_path created_at description depth",
      Documents:
        "doc_id filename path_id uploaded_by_user_id mongo_doc_id uploaded_at updated_at file_size content_type file_type description sha256 blob_key",
      Processing_Status: "status_id doc_id stage_name status start_time end_time error_message",
      Individual_Permissions:
        "permission_id user_id action_id entity_id entity_type is_allowed is_inherited",
      Logs: "log_id log_timestamp action_type user_id entity_id details",
    };
    for (const [table, names] of Object.entries(expected))
      assert.equal(columns(table), names, table);
    database.close();
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
      "0001-reference-tables": {
        sqlite: "1ae1b645e4504ac617e6fb9ec649a1a2bb94c1967d38a2b0a1f0918cc051fa50",
        sqlserver: "2adb5a017ecdea4c82fc07cfc58c165abe4bedf0a506141749b4d28b068f0e96",
      },
      "0002-server-tables": {
        sqlite: "368221f47552e329d003897b89207df39163d4feb17e67a9df5c947b229caca2",
        sqlserver: "090a462b45f6a9a25365aabcb4073b604fcdfe3462c88257c15e01e64d145f8e",
      },
    });
  });

  it("have names that sort in their order, and none twice", () => {
    const names = migrations.map((migration) => migration.name);
    assert.deepEqual(names, [...new Set(names)].sort());
    for (const name of names) assert.match(name, /^\d{4}-[a-z0-9-]{1,90}$/);
  });

  it("run by hand from the printed script count as run", async (t) => {
    const file = await temporaryFile(t);
    raw(file, (database) => database.exec(migrationScript("sqlite")));
    const database = openSqlite({ file });
    t.after(() => database.close());
    assert.deepEqual(await database.pendingMigrations(), []);
    assert.deepEqual(await database.migrate(), []);
  });

  it("are printed for SQL Server in batches that change only what is missing", () => {
    const script = migrationScript("sqlserver", ["0002-server-tables"]);
    assert.ok(!script.includes("0001-reference-tables"));
    const batches = script.split("\nGO\n");
    const creating = batches.filter((batch) => /\n(CREATE TABLE|ALTER TABLE)/.test(batch));
    assert.ok(creating.length >= 11);
    for (const batch of creating) assert.match(batch, /^IF NOT EXISTS \(SELECT 1 AS found WHERE/);
    assert.ok(batches.some((batch) => batch.startsWith("INSERT INTO Schema_Migrations")));
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
    assert.deepEqual(await database.pendingMigrations(), ["0002-server-tables"]);
    const found = await database.all(
      "SELECT name FROM sqlite_master WHERE name IN ('Sessions', 'Outbox', 'Logs')",
    );
    assert.deepEqual(found, [{ name: "Logs" }]);
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
