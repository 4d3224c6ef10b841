import { setTimeout as sleep } from "node:timers/promises";
import { BATCH, listNamedKeys } from "../data/blob-keys.ts";
import { deleteExpiredPasswordResets } from "../data/password-resets.ts";
import { deleteExpiredSessions } from "../data/sessions.ts";
import type { Core } from "./authority.ts";
import { isOwnKey } from "./blobs.ts";
import type { Stores } from "./deletions.ts";

/** Milliseconds. */
const DAY = 24 * 60 * 60 * 1000;
/** Before a server's sweep, and between two looks. */
const PAUSES = { first: 10 * 60 * 1000, next: 1000 };

type Parts = Stores & Pick<Core, "database" | "now">;

/** Sessions are kept for a day after their end: a request may outlive its own. */
export const endOfSessions = (now: Date) => new Date(now.getTime() - DAY);

/** Removes resets and sessions that ended. */
export async function sweepAccounts({ database, now }: Pick<Core, "database" | "now">) {
  await deleteExpiredPasswordResets(database, now());
  await deleteExpiredSessions(database, endOfSessions(now()));
}

/** What one look at some keys found. Blobs under keys of other programs are not judged. */
interface Look {
  named: number;
  foreign: number;
  /** Keys that no row and no note names. */
  strays: string[];
}

/**
 * Looks at all blobs for those that were left behind: that are `age` milliseconds old, so that no
 * upload can still be about to name them. Constant memory.
 */
export async function* findStrays(parts: Parts, age = DAY): AsyncGenerator<Look> {
  let keys: string[] = [];
  for await (const key of parts.storage.keys("")) {
    if (keys.push(key) < BATCH) continue;
    yield look(parts, keys, age);
    keys = [];
  }
  if (keys.length > 0) yield look(parts, keys, age);
}

/** `keys` are at most BATCH. */
export async function look({ database, findBlob, now }: Parts, keys: string[], age: number) {
  const own = keys.filter(isOwnKey);
  const known = own.length > 0 ? await listNamedKeys(database, own) : new Set();
  const unknown = own.filter((key) => !known.has(key));
  const strays: string[] = [];
  for (const key of unknown) {
    const blob = await findBlob(key);
    if (blob && blob.lastModified.getTime() <= now().getTime() - age) strays.push(key);
  }
  return { named: known.size, foreign: keys.length - own.length, strays };
}

/**
 * A server's own sweep, which takes its time. It removes nothing while more blobs are strays than
 * not: then this may not be the database of this storage.
 */
export async function sweepBlobs(
  parts: Parts,
  stopping: AbortSignal,
  pauses = PAUSES,
): Promise<void> {
  const { storage, log } = parts;
  const pause = (milliseconds: number) =>
    sleep(milliseconds, undefined, { signal: stopping, ref: false }).catch(() => {});
  let surplus = 0;
  await pause(pauses.first);
  for await (const { named, strays } of findStrays(parts)) {
    if (stopping.aborted) return;
    surplus += named - strays.length;
    if (surplus < 0) {
      log.warn("many blobs have no document: `npm run sweep` removes them, if that is right");
      return;
    }
    for (const key of strays) {
      await storage.delete(key);
      log.info("a blob without a document was removed", { blob_key: key });
    }
    await pause(pauses.next);
  }
}
