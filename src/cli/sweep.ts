import { listDueDeletions } from "../data/deletions.ts";
import { createDeletions } from "../domain/deletions.ts";
import { judge, sweepAccounts } from "../domain/sweep.ts";
import { print, printFinding, withStores } from "./commands.ts";

const BATCH = 100;

/** Removes what was left behind, and prints it; with `dryRun` only prints it. */
export function sweep({ dryRun }: { dryRun: boolean }): Promise<void> {
  return withStores(dryRun, async (stores) => {
    const { database, storage, now } = stores;
    let found = 0;
    const tell = (line: string, count = 1) => {
      if (count > 0) printFinding(line);
      found += count;
    };
    for (let skip = 0; ; skip += BATCH) {
      const due = await listDueDeletions(database, now(), { skip, limit: BATCH });
      for (const { blobKey } of due) tell(`deletion that is due: ${blobKey}`);
      if (due.length < BATCH) break;
    }
    if (!dryRun) await createDeletions(stores).carryOutDue(new AbortController().signal);

    for (const name of (await storage.renew?.(dryRun)) ?? [])
      tell(`unfinished file of an upload: ${name}`);

    const { sessions, resets } = await sweepAccounts(stores, dryRun);
    tell(`sessions that have ended: ${sessions}`, sessions);
    tell(`password resets that have expired: ${resets}`, resets);

    let others = 0;
    for await (const key of storage.keys("")) {
      const verdict = await judge(stores, key);
      if (verdict === "foreign") others += 1;
      if (verdict !== "stray") continue;
      tell(`blob without a document: ${key}`);
      if (!dryRun) await storage.delete(key);
    }
    if (others > 0) print(`Not judged: ${others} blobs under keys of other programs.`);
    const done = dryRun ? "nothing was removed" : "all that could be was removed";
    print(found > 0 ? `Found ${found}: ${done}.` : "There is nothing to remove.");
  });
}
