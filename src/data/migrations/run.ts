import type { Queryable } from "../database.ts";
import { migrations, recordTable } from "./index.ts";
import { checksum, type Engine, type Migration, tableExists } from "./migration.ts";

/** Runs `work` in a transaction of which one at a time exists, whatever other processes do. */
type Exclusively = <Result>(work: (tx: Queryable) => Promise<Result>) => Promise<Result>;

/**
 * Runs what has not run yet, all of it or nothing, and returns the names. Throws what
 * `pendingMigrations` throws.
 */
export function migrate(engine: Engine, exclusively: Exclusively): Promise<string[]> {
  return exclusively(async (tx) => {
    const names = await pendingMigrations(engine, tx);
    for (const migration of migrations)
      if (names.includes(migration.name)) await apply(engine, tx, migration);
    return names;
  });
}

async function apply(engine: Engine, tx: Queryable, migration: Migration): Promise<void> {
  for (const step of [recordTable, ...migration.steps]) {
    const { sql, unless } = step[engine];
    if (unless === undefined || !(await tx.first(unless))) await tx.run(sql);
  }
  await tx.run(
    "INSERT INTO Schema_Migrations (name, checksum, applied_at) VALUES (@name, @sum, @now)",
    { name: migration.name, sum: checksum(migration, engine), now: new Date() },
  );
}

/** Names of what has not run. Throws when a newer or an altered version made the database. */
export async function pendingMigrations(engine: Engine, database: Queryable): Promise<string[]> {
  const applied = await appliedMigrations(engine, database);
  const known = new Set(migrations.map(({ name }) => name));
  const unknown = [...applied.keys()].filter((name) => !known.has(name));
  if (unknown.length > 0) {
    const names = unknown.join(", ");
    throw new Error(`The database is newer than this server: it has the migrations ${names}`);
  }
  for (const migration of migrations) {
    const { name } = migration;
    if (applied.has(name) && applied.get(name) !== checksum(migration, engine))
      throw new Error(`The migration ${name} was another one when it ran on this database`);
  }
  return [...known].filter((name) => !applied.has(name));
}

/** The checksum of each migration that ran, by its name. */
async function appliedMigrations(engine: Engine, database: Queryable) {
  if (!(await database.first(tableExists("Schema_Migrations")[engine])))
    return new Map<string, string>();
  const rows = await database.all<{ name: string; checksum: string }>(
    "SELECT name, checksum FROM Schema_Migrations ORDER BY name",
  );
  return new Map(rows.map((row) => [row.name, row.checksum.trim()]));
}
