import type { Queryable } from "../database.ts";
import { migrations, recordTable } from "./index.ts";
import { checksum, type Engine, tableExists } from "./migration.ts";

/** Runs `work` in a transaction of which one at a time exists, whatever other processes do. */
type Exclusively = <Result>(work: (tx: Queryable) => Promise<Result>) => Promise<Result>;

/**
 * Runs what has not run yet, each migration in its own transaction; returns their names. Throws, before changing
 * anything, when an applied migration is unknown here or was another one then.
 */
export async function migrate(engine: Engine, exclusively: Exclusively): Promise<string[]> {
  const ran: string[] = [];
  // Not without the lock: another process that is migrating would keep the look waiting, or show half of its work.
  for (const name of await exclusively((tx) => pendingMigrations(engine, tx))) {
    if (await exclusively((tx) => apply(engine, tx, name))) ran.push(name);
  }
  return ran;
}

/** Names of the migrations that have not run. Throws when the database was made by a newer or an altered version. */
export async function pendingMigrations(engine: Engine, database: Queryable): Promise<string[]> {
  const applied = await appliedMigrations(engine, database);
  const unknown = [...applied.keys()].filter(
    (name) => !migrations.some((known) => known.name === name),
  );
  if (unknown.length > 0) {
    throw new Error(
      `The database is newer than this server: it has the migrations ${unknown.join(", ")}`,
    );
  }
  const pending = [];
  for (const migration of migrations) {
    const found = applied.get(migration.name);
    if (found === undefined) pending.push(migration.name);
    else if (found !== checksum(migration, engine)) {
      throw new Error(
        `The migration ${migration.name} was another one when it ran on this database`,
      );
    }
  }
  return pending;
}

async function appliedMigrations(
  engine: Engine,
  database: Queryable,
): Promise<Map<string, string>> {
  if (!(await database.first(tableExists("Schema_Migrations")[engine]))) return new Map();
  const rows = await database.all<{ name: string; checksum: string }>(
    "SELECT name, checksum FROM Schema_Migrations ORDER BY name",
  );
  return new Map(rows.map((row) => [row.name, row.checksum.trim()]));
}

/** False when another process has done it meanwhile. */
async function apply(engine: Engine, tx: Queryable, name: string): Promise<boolean> {
  const pending = await pendingMigrations(engine, tx);
  const migration = migrations.find((known) => known.name === name);
  if (!migration || !pending.includes(name)) return false;
  for (const step of [recordTable, ...migration.steps]) {
    const { sql, unless } = step[engine];
    if (unless === undefined || !(await tx.first(unless))) await tx.run(sql);
  }
  await tx.run(
    "INSERT INTO Schema_Migrations (name, checksum, applied_at) VALUES (@name, @checksum, @now)",
    {
      name,
      checksum: checksum(migration, engine),
      now: new Date(),
    },
  );
  return true;
}
