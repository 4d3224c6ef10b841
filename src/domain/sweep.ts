import { setTimeout as sleep } from "node:timers/promises";
import { isNamed } from "../data/deletions.ts";
import { countExpired, deleteExpired } from "../data/sessions.ts";
import type { Core } from "./authority.ts";
import { isOwnKey } from "./blobs.ts";
import type { Stores } from "./deletions.ts";

/** Milliseconds. */
const DAY = 24 * 60 * 60 * 1000;
/** Before a server's sweep, and between two looks. */
const PAUSES = { first: 10 * 60 * 1000, next: 10 };
/** What a server removes in one sweep. */
const MOST = 10_000;

type Parts = Stores & Pick<Core, "database" | "now">;

/** Removes sessions and resets that ended, or with `dryRun` only counts them; how many. */
export async function sweepAccounts({ database, now }: Parts, dryRun = false) {
  const remove = dryRun ? countExpired : deleteExpired;
  // A day late: a request may outlive its session.
  const sessions = await remove(database, "Sessions", new Date(now().getTime() - DAY));
  return { sessions, resets: await remove(database, "Password_Resets", now()) };
}

/**
 * What the blob at `key` is. A stray is `age` milliseconds old, and no row and no note names it. A
 * foreign key is another program's, whose blobs are not judged.
 */
export async function judge({ database, findBlob, now }: Parts, key: string, age = DAY) {
  if (!isOwnKey(key)) return "foreign";
  // Twice: a document's deletion may put the note in its place between two statements.
  if ((await isNamed(database, key)) || (await isNamed(database, key))) return "named";
  const blob = await findBlob(key);
  return blob && blob.lastModified.getTime() <= now().getTime() - age ? "stray" : "young";
}

/**
 * A server's own sweep, which takes its time. It removes nothing where more blobs are strays than
 * not: then this may not be the database of this storage.
 */
export async function sweepBlobs(parts: Parts, stopping: AbortSignal, pauses = PAUSES) {
  const { storage, log } = parts;
  const pause = (milliseconds: number) =>
    sleep(milliseconds, undefined, { signal: stopping, ref: false }).catch(() => {});
  const strays: string[] = [];
  let named = 0;
  await pause(pauses.first);
  await storage.removeUnfinished?.();
  for await (const key of storage.keys("")) {
    if (stopping.aborted) return;
    const verdict = await judge(parts, key);
    if (verdict === "named") named += 1;
    if (verdict === "stray" && strays.push(key) === MOST) break;
    await pause(pauses.next);
  }
  if (strays.length > named) {
    log.warn("many blobs have no document: `npm run sweep` removes them, if that is right");
    return;
  }
  for (const key of strays) {
    if (stopping.aborted) return;
    await storage.delete(key);
    log.info("a blob without a document was removed", { blob_key: key });
  }
}
