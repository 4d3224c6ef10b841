import { listDueDeletions } from "../data/deletions.ts";
import { countExpiredPasswordResets } from "../data/password-resets.ts";
import { countExpiredSessions } from "../data/sessions.ts";
import { createDeletions } from "../domain/deletions.ts";
import { endOfSessions, findStrays, sweepAccounts } from "../domain/sweep.ts";
import { print, printFinding, withStores } from "./commands.ts";

const BATCH = 100;

/** Removes what was left behind, and prints it; with `dryRun` only prints it. */
export function sweep({ dryRun }: { dryRun: boolean }): Promise<void> {
  return withStores({ readOnly: dryRun }, async (stores) => {
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

    const unfinished = (await storage.abandoned?.()) ?? [];
    for (const name of unfinished) tell(`unfinished file of an upload: ${name}`);
    if (!dryRun) await storage.renew?.();

    const sessions = await countExpiredSessions(database, endOfSessions(now()));
    tell(`sessions that have ended: ${sessions}`, sessions);
    const resets = await countExpiredPasswordResets(database, now());
    tell(`password resets that have expired: ${resets}`, resets);
    if (!dryRun) await sweepAccounts(stores);

    let others = 0;
    for await (const { foreign, strays } of findStrays(stores)) {
      others += foreign;
      for (const key of strays) {
        tell(`blob without a document: ${key}`);
        if (!dryRun) await storage.delete(key);
      }
    }
    if (others > 0) print(`Not judged: ${others} blobs under keys of other programs.`);
    const done = dryRun ? "nothing was removed" : "all that could be was removed";
    print(found > 0 ? `Found ${found}: ${done}.` : "There is nothing to remove.");
  });
}
