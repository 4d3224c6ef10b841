import { join } from "node:path";
import {
  type CountedRequest,
  countStatements,
  openCountingDatabase,
} from "../../support/tds/statement-counts.ts";
import { ADMIN, type Bench, loginAs, PASSWORD, startServer } from "../server.ts";

const AIMS: Record<CountedRequest, number> = {
  "users/me": 1,
  "docs/me": 3,
  login: 5,
  upload: 10,
  download: 3,
  delete: 8,
};

/** Round trips between request and answer, from a stand-in for SQL Server: no time is told. */
export async function statements(bench: Bench): Promise<void> {
  const database = await openCountingDatabase();
  try {
    const env = { ...database.env, SQL_TRUST_SERVER_CERTIFICATE: "yes" };
    const { url } = await startServer(join(bench.folder, "data"), { env });
    const account = { username: ADMIN, password: PASSWORD, token: await loginAs(url) };
    const counts = await countStatements(database, url, account, AIMS);
    for (const [name, atMost] of Object.entries(AIMS))
      bench.report({
        name: `statements of ${name} on SQL Server`,
        unit: "number",
        ours: counts[name as CountedRequest],
        aims: { atMost },
      });
  } finally {
    await database.remove();
  }
}
