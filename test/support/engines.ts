import { createTestSqlServer, skipReason } from "./sqlserver.ts";
import { openStandInDatabase } from "./tds/database.ts";
import { assertTsql } from "./tsql.ts";

/** A database engine to run the API suites on. `open` makes an empty database for one app, and its variables. */
export interface Engine {
  name: string;
  open(): Promise<{ env: Record<string, string>; remove(): Promise<void> }>;
}

const embedded: Engine = {
  name: "SQLite",
  open: async () => ({ env: {}, remove: async () => {} }),
};

const sqlServer: Engine = {
  name: "SQL Server",
  async open() {
    const { options, drop } = await createTestSqlServer();
    return {
      env: {
        SQL_SERVER: process.env.TEST_SQL_SERVER ?? "",
        SQL_DB_NAME: options.name,
        SQL_USER: options.user,
        SQL_PASS: options.password,
        SQL_ENCRYPT: options.encrypt ? "yes" : "no",
      },
      remove: drop,
    };
  },
};

/** The engine and driver for SQL Server against a stand-in that speaks TDS and answers from SQLite. All it was sent must be T-SQL. */
const standIn: Engine = {
  name: "a stand-in for SQL Server",
  async open() {
    const { env, statements, remove } = await openStandInDatabase();
    return {
      env,
      async remove() {
        await remove();
        for (const statement of statements) assertTsql(statement);
      },
    };
  },
};

/** The embedded engine first; then SQL Server, or what stands in for it where there is none. */
export const ENGINES: readonly [Engine, ...Engine[]] = [
  embedded,
  skipReason === undefined ? sqlServer : standIn,
];

/** Why the other engine is not among them. */
export const SQL_SERVER_SKIPPED = skipReason;
