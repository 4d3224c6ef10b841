import type { Queryable } from "./database.ts";

/** Keys that one statement asks for. */
export const BATCH = 100;
const NAMES = Array.from({ length: BATCH }, (_, at) => `key${at}`);
const LIST = NAMES.map((name) => `@${name}`).join(", ");

/** Those of `keys`, at most `BATCH`, that a deletion or a document names. */
export async function listNamedKeys(
  q: Queryable,
  keys: readonly string[],
): Promise<ReadonlySet<string>> {
  // A parameter that is left over means the first key again.
  const params = Object.fromEntries(NAMES.map((name, at) => [name, keys[at] ?? keys[0] ?? ""]));
  const named = (table: string) =>
    q.all<{ blobKey: string }>(
      `SELECT x.blob_key AS blobKey FROM ${table} x WHERE x.blob_key IN (${LIST})`,
      params,
    );
  // In this order: a commit puts the document in the place of its upload's deletion.
  const rows = [...(await named("Deletions")), ...(await named("Documents"))];
  return new Set(rows.map(({ blobKey }) => blobKey));
}
