import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SqlServerOptions } from "../../../src/data/sqlserver-connection.ts";
import { testServer } from "../sqlserver.ts";
import { type Session, startStandIn } from "./server.ts";
import { sqliteSession } from "./sqlite-session.ts";

export interface StandInDatabase {
  options: SqlServerOptions;
  /** The same as the server's variables. */
  env: Record<string, string>;
  /** Every T-SQL statement that came, once. */
  statements: Set<string>;
  remove(): Promise<void>;
}

/**
 * An empty database for the SQL Server engine where there is no SQL Server: a stand-in that answers from SQLite. `around` may put
 * itself between server and session.
 */
export async function openStandInDatabase(
  around: (session: Session) => Session = (session) => session,
): Promise<StandInDatabase> {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-stand-in-"));
  const statements = new Set<string>();
  const file = join(folder, "stand-in.db");
  const standIn = await startStandIn({
    open: () => around(sqliteSession(file, (text) => void statements.add(text))),
  });
  const options: SqlServerOptions = {
    ...testServer("nassaq"),
    server: "127.0.0.1",
    port: standIn.port,
    instance: undefined,
    user: "nassaq",
    password: "stand-in",
    encrypt: false,
  };
  return {
    options,
    env: {
      SQL_SERVER: `${options.server},${options.port}`,
      SQL_DB_NAME: options.name,
      SQL_USER: options.user,
      SQL_PASS: options.password,
      SQL_ENCRYPT: "no",
    },
    statements,
    async remove() {
      await standIn.close();
      await rm(folder, { recursive: true });
    },
  };
}
