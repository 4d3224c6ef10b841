import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openSqlite } from "../../src/data/sqlite.ts";
import { openSqlServer } from "../../src/data/sqlserver.ts";
import { createTestSqlServer, skipReason, type TestSqlServer } from "../support/sqlserver.ts";
import { openStandInDatabase } from "../support/tds/database.ts";
import { databaseContract } from "./database.ts";

databaseContract("SQLite in memory", async () => {
  const database = openSqlite({ file: ":memory:" });
  await database.migrate();
  return { database, another: () => undefined, dispose: () => database.close() };
});

databaseContract("SQLite in a file", async () => {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-database-"));
  const file = join(folder, "deep", "nassaq.db");
  const database = openSqlite({ file });
  await database.migrate();
  return {
    database,
    another: async () => openSqlite({ file }),
    async dispose() {
      await database.close();
      await rm(folder, { recursive: true });
    },
  };
});

databaseContract("the SQL Server engine, on a stand-in that answers from SQLite", async () => {
  const { options, remove } = await openStandInDatabase();
  const database = await openSqlServer(options);
  await database.migrate();
  return {
    database,
    another: () => openSqlServer(options),
    async dispose() {
      await database.close();
      await remove();
    },
  };
});

let server: Promise<TestSqlServer> | undefined;
after(async () => (await server)?.drop());

const count = databaseContract(
  "SQL Server",
  async () => {
    server ??= createTestSqlServer();
    const { options, clear } = await server;
    const database = await openSqlServer(options);
    await database.migrate();
    return {
      database,
      another: () => openSqlServer(options),
      async dispose() {
        await database.close();
        await clear();
      },
    };
  },
  skipReason,
);

test("SQL Server is held to the contract", (t) => {
  if (skipReason === undefined) return;
  t.diagnostic(`${count} tests of the Database contract were skipped: ${skipReason}`);
  t.skip(skipReason);
});
