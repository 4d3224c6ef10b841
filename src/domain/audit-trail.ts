import { listUnsealed, lockHead, sealRow, updateHead } from "../data/audit.ts";
import type { Database, Queryable } from "../data/database.ts";
import { within } from "../errors.ts";
import type { Logger } from "../log.ts";
import { createAudit } from "./audit.ts";
import { openEpochs, type Secrets } from "./audit-keys.ts";
import { type End, type Epoch, extend, headMac, rowFault } from "./audit-macs.ts";
import { startChores } from "./chores.ts";

/** Rows that one transaction seals. */
const BATCH = 200;
/** Milliseconds. */
const CLOSING = 5000;

/**
 * The tamper-evident audit trail. A row is written with a mac of its own, and sealed later: chained
 * to the rows before it, in batches, so that writers don't wait for each other.
 */
export async function openTrail(parts: {
  database: Database;
  secrets: Secrets;
  now: () => Date;
  log: Logger;
}) {
  const { database, secrets, now, log } = parts;
  const epochs = await openEpochs(database, secrets, log);
  const seal = async () => {
    for (const epoch of epochs) await sealEpoch(database, epoch);
  };
  const sealing = startChores(seal, log);
  const [epoch] = epochs.slice(-1) as [Epoch];
  return {
    audit: createAudit({ now, epoch, onRecord: () => sealing.soon() }),
    /**
     * Seals what has been recorded; after the next start, what is not sealed now. Rejects with
     * `TimedOut` when the database is slow.
     */
    close: () => within(sealing.stop().then(seal), CLOSING, "The audit trail was not sealed"),
  };
}

/** Seals every row of the epoch whose mac is right. Throws when the head was tampered with. */
export async function sealEpoch(database: Database, epoch: Epoch): Promise<void> {
  // With nothing to seal nothing is locked and nothing is written.
  let [last] = await listUnsealed(database, epoch.number, 0, 1);
  for (let after = 0; last; after = last?.logId ?? 0)
    last = await database.transaction((tx) => sealBatch(tx, epoch, after));
}

/** Goes on after the row `after`; returns the last row that it saw, if there may be more. */
async function sealBatch(tx: Queryable, epoch: Epoch, after: number) {
  const head = await lockHead(tx, epoch.number);
  if (!head || head.headMac !== headMac(epoch, head))
    throw new Error(`The head of epoch ${epoch.number} of the audit trail was tampered with`);
  const rows = await listUnsealed(tx, epoch.number, after, BATCH);
  let end: End = head;
  for (const row of rows) {
    if (rowFault(epoch, row)) continue;
    end = extend(epoch, end, row);
    await sealRow(tx, row.logId, end.length, end.lastMac);
  }
  if (end.length > head.length)
    await updateHead(tx, { epoch: epoch.number, ...end, headMac: headMac(epoch, end) });
  return rows[BATCH - 1];
}
