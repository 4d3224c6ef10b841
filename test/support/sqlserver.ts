import { randomBytes } from "node:crypto";
import { readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Database, DatabaseUnreachable } from "../../src/data/database.ts";
import { openSqlServer } from "../../src/data/sqlserver.ts";
import type { SqlServerOptions } from "../../src/data/sqlserver-connection.ts";
import { AppError } from "../../src/errors.ts";
import type { Logger } from "../../src/log.ts";

const { TEST_SQL_SERVER, TEST_SQL_USER, TEST_SQL_PASS, TEST_SQL_DB_NAME } = process.env;

/** Why tests that need a SQL Server can't run; undefined when they can. */
export const skipReason: string | undefined =
  TEST_SQL_SERVER && TEST_SQL_USER && TEST_SQL_PASS && TEST_SQL_DB_NAME
    ? undefined
    : "no SQL Server: set TEST_SQL_SERVER, TEST_SQL_USER, TEST_SQL_PASS and TEST_SQL_DB_NAME";

export const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} };

/** Every table, dependent ones first. */
const TABLES = [
  "Audit_Heads",
  "Rag_Ingest",
  "Ocr_Results",
  "Deletions",
  "Outbox",
  "Password_Resets",
  "Sessions",
  "Logs",
  "Individual_Permissions",
  "Rag_Ingest",
  "Ocr_Results",
  "Processing_Status",
  "Documents",
  "Virtual_Paths",
  "Users",
  "Role_Actions",
  "Actions",
  "Roles",
  "Schema_Migrations",
];

/** The server of the `TEST_SQL_*` variables; `TEST_SQL_SERVER` as `SQL_SERVER`: `host`, `host,port` or `host\instance`. */
export function testServer(name = TEST_SQL_DB_NAME ?? ""): SqlServerOptions {
  const [, server = "", instance, port] =
    /^([^,\\]+)(?:\\(\w+)|,(\d+))?$/.exec(TEST_SQL_SERVER ?? "") ?? [];
  return {
    server,
    instance,
    port: Number(port ?? 1433),
    name,
    user: TEST_SQL_USER ?? "",
    password: TEST_SQL_PASS ?? "",
    encrypt: true,
    trustServerCertificate: true,
    connectTimeoutSeconds: 60,
    poolMax: 10,
    poolRecycleSeconds: 1800,
    maxRetries: 3,
    retryDelayBase: 2,
    log: silent,
  };
}

export interface TestSqlServer {
  /** An empty database: a new one or, where the server lets nobody make one, `TEST_SQL_DB_NAME` without our tables. */
  options: SqlServerOptions;
  /** Drops our tables, for the next test. */
  clear(): Promise<void>;
  drop(): Promise<void>;
}

/** Makes a database for this process's tests. Only where `skipReason` is undefined. */
export async function createTestSqlServer(): Promise<TestSqlServer> {
  const { home, encrypt } = await openHome();
  const name = `nassaq_test_${randomBytes(6).toString("hex")}`;
  const own = await createDatabase(home, name);
  const options = { ...testServer(own ? name : undefined), encrypt };
  const unlock = own ? async () => {} : await lockTables();
  async function clear(): Promise<void> {
    const database = await openSqlServer(options);
    await dropTables(database);
    await database.close();
  }
  if (!own) await clear();
  return {
    options,
    clear,
    async drop() {
      if (own) await dropDatabase(home, name);
      else await dropTables(home);
      await unlock();
      await home.close();
    },
  };
}

/** Test files run at the same time, in processes: the one that has the tables of the common database keeps the others waiting. */
async function lockTables(): Promise<() => Promise<void>> {
  const file = join(tmpdir(), `nassaq-test-${TEST_SQL_DB_NAME?.replace(/\W/g, "_")}.lock`);
  for (;;) {
    try {
      await writeFile(file, String(process.pid), { flag: "wx" });
      return () => rm(file, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const holder = Number(await readFile(file, "utf8").catch(() => ""));
    if (holder > 0 && !isAlive(holder)) await rm(file, { force: true });
    await delay(100);
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** The server may take a moment to see that the app's connections are gone. */
async function dropDatabase(home: Database, name: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await home.run(`DROP DATABASE ${name}`);
      return;
    } catch (error) {
      if (attempt === 10) throw error;
      await delay(500);
    }
  }
}

/**
 * The server, in `TEST_SQL_DB_NAME` or, where there is no such database yet, in `master`; without encryption where it speaks TDS in the
 * clear only.
 */
async function openHome(): Promise<{ home: Database; encrypt: boolean }> {
  let encrypt = true;
  let name = TEST_SQL_DB_NAME;
  for (;;) {
    try {
      return {
        home: await openSqlServer({ ...testServer(name), encrypt, maxRetries: 0 }),
        encrypt,
      };
    } catch (error) {
      const { code } = (error as DatabaseUnreachable).cause as { code?: string };
      if (code === "EENCRYPT" && encrypt) encrypt = false;
      else if (code === "ELOGIN" && name !== "master") name = "master";
      else throw error;
    }
  }
}

/** "Could not obtain exclusive lock on database 'model'": another one is being made at the same time. */
const MODEL_IN_USE = 1807;

/** False where the server lets nobody make one. */
async function createDatabase(home: Database, name: string): Promise<boolean> {
  for (let attempt = 1; ; attempt++) {
    try {
      await home.run(`CREATE DATABASE ${name}`);
      return true;
    } catch (error) {
      const passing =
        error instanceof AppError || (error as { number?: unknown }).number === MODEL_IN_USE;
      if (!passing) return false;
      if (attempt === 20) throw error;
      await delay(250 + Math.random() * 500);
    }
  }
}

async function dropTables(database: Database): Promise<void> {
  for (const table of TABLES) {
    const found = await database.first(
      `SELECT 1 AS found WHERE OBJECT_ID(N'${table}', N'U') IS NOT NULL`,
    );
    if (found) await database.run(`DROP TABLE ${table}`);
  }
}
