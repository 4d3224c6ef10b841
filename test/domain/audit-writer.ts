import { loadConfig } from "../../src/config.ts";
import { SYSTEM } from "../../src/domain/audit.ts";
import { openTrail } from "../../src/domain/audit-trail.ts";
import { AppError } from "../../src/errors.ts";
import { auditSecrets, openDatabase } from "../../src/parts.ts";
import { silent } from "../support/sqlserver.ts";

/** A process that records as many rows as told in the database that the environment names. */
const config = loadConfig(process.env);
const database = await openDatabase(config, silent);
const secrets = auditSecrets(config);
const trail = await openTrail({ database, secrets, now: () => new Date(), log: silent });

async function record(n: number): Promise<void> {
  try {
    await database.transaction((tx) => trail.audit.record(tx, "path_create", SYSTEM, n));
  } catch (error) {
    // Of so many on a slow machine some find no connection in time.
    if (!(error instanceof AppError && error.code === "unavailable")) throw error;
    await record(n);
  }
}

await Promise.all(Array.from({ length: Number(process.argv[2]) }, (_, n) => record(n)));
// On a slow machine the last sealing takes too long; the test does it then.
await trail.close().catch(() => {});
await database.close();
