import type { Queryable } from "../database.ts";
import { migrations, recordTable } from "./index.ts";
import { checksum, type Engine, type Migration, tableExists } from "./migration.ts";

/** Runs `work` in a transaction, one at a time of all processes. */
type Exclusively = <Result>(work: (tx: Queryable) => Promise<Result>) => Promise<Result>;

/** Runs what has not run yet, all of it or nothing; returns the names. */
export function migrate(engine: Engine, exclusively: Exclusively): Promise<string[]> {
  return exclusively(async (tx) => {
    const names = await pendingMigrations(engine, tx);
    for (const migration of migrations)
      if (names.includes(migration.name)) await apply(engine, tx, migration);
    return names;
  });
}

async function apply(engine: Engine, tx: Queryable, migration: Migration) {
  for (const step of [recordTable, ...migration.steps]) {
    const { sql, unless } = step[engine];
    if (unless === undefined || !(await tx.first(unless))) await tx.run(sql);
  }
  await tx.run(
    "INSERT INTO Schema_Migrations (name, checksum, applied_at) VALUES (@name, @sum, @now)",
    { name: migration.name, sum: checksum(migration, engine), now: new Date() },
  );
}

/** Names. Throws when a newer or an altered version made the database. */
export async function pendingMigrations(engine: Engine, database: Queryable): Promise<string[]> {
  const names = migrations.map(({ name }) => name);
  if (!(await database.first(tableExists("Schema_Migrations")[engine]))) return names;
  const applied = await database.all<{ name: string; checksum: string }>(
    "SELECT name, checksum FROM Schema_Migrations ORDER BY name",
  );
  for (const { name, checksum: sum } of applied) {
    const migration = migrations.find((known) => known.name === name);
    if (!migration)
      throw new Error(`The database is newer than this server: it has the migration ${name}`);
    if (sum.trim() !== checksum(migration, engine))
      throw new Error(`The migration ${name} was another one when it ran on this database`);
  }
  return names.filter((name) => !applied.some((one) => one.name === name));
}
