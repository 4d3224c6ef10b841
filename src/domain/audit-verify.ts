import {
  type AuditRow,
  findCopiedRow,
  findHead,
  findRowsOutside,
  findRowWithoutHead,
  listHeads,
  listSealed,
  listUnsealed,
} from "../data/audit.ts";
import type { Queryable } from "../data/database.ts";
import { openKey, type Secrets } from "./audit-keys.ts";
import { type End, type Epoch, extend, headMac, rowFault, START } from "./audit-macs.ts";

/** Rows in memory at a time. */
const PAGE = 500;

/** A head that an earlier verification printed. */
export interface Anchor {
  epoch: number;
  length: number;
  mac: string;
}

class Broken extends Error {}

/**
 * Walks the trail. `lines` say of each epoch where it ends, or what breaks it first. With `anchor`
 * the trail must also contain that head, which a restored older copy does not.
 */
export async function verifyTrail(q: Queryable, secrets: Secrets, anchor?: Anchor) {
  const lines: string[] = [];
  let isWhole = true;
  const broken = (what: string) => {
    isWhole = false;
    lines.push(`BROKEN: ${what}`);
  };
  const heads = await listHeads(q);
  if (heads.length === 0) broken("the trail has no head: it was removed, or has never begun");
  let before = 0;
  for (const { epoch: number, wrappedKey } of heads) {
    if (number !== before + 1) broken(`epoch ${before + 1} was removed, with its head`);
    before = number;
    const key = openKey(wrappedKey, secrets)?.key;
    try {
      if (!key) throw new Broken("can't be proven: none of the configured keys opens its key");
      lines.push(`epoch ${number}: ${await verifyEpoch(q, { number, key }, anchor)}`);
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      broken(`epoch ${number}: ${error.message}`);
    }
  }
  const stray = await findRowWithoutHead(q);
  if (stray) broken(`row ${stray.logId}: the head of its epoch ${stray.epoch} was removed`);
  const copy = await findCopiedRow(q);
  if (copy) broken(`row ${copy.logId} was inserted: it is a copy of row ${copy.original}`);
  if (anchor && !heads.some(({ epoch }) => epoch === anchor.epoch))
    broken(`the head that was given is of epoch ${anchor.epoch}, which is not in the trail`);
  const outside = await findRowsOutside(q);
  const newest = outside?.newest ? `, the newest is row ${outside.newest}` : "";
  lines.push(`outside of the chain (older, or written by others): ${outside?.total} rows${newest}`);
  return { isWhole, lines };
}

/** What there is to say of a whole epoch. Throws Broken with what is wrong first. */
async function verifyEpoch(q: Queryable, epoch: Epoch, anchor?: Anchor): Promise<string> {
  let end = START;
  let last: AuditRow | undefined;
  const isAnchor = () => anchor?.length === end.length && anchor.mac === headMac(epoch, end);
  let isAnchored = anchor?.epoch !== epoch.number || isAnchor();
  for (;;) {
    // Read before the rows that it counts: while servers seal, there may be more of these.
    const head = await findHead(q, epoch.number);
    const rows = await listSealed(q, epoch.number, end.length, PAGE);
    for (const row of rows) {
      const next = extend(epoch, end, row);
      const fault =
        sequenceFault(next.length, last, row) ?? rowFault(epoch, row) ?? placeFault(next, row);
      if (fault) throw new Broken(`row ${row.logId} (sequence ${row.sequence}) ${fault}`);
      [end, last] = [next, row];
      isAnchored ||= isAnchor();
    }
    if (rows.length > 0) continue;
    if (!head) throw new Broken("its head was removed");
    if (head.headMac !== headMac(epoch, head)) throw new Broken("its head was changed");
    const after = last ? `after row ${last.logId} (sequence ${end.length})` : "from the first on";
    if (head.length > end.length)
      throw new Broken(`the last ${head.length - end.length} rows were cut off, ${after}`);
    if (head.length < end.length)
      throw new Broken(`its head is an older one: it ends at sequence ${head.length}`);
    if (!isAnchored) throw new Broken("the head that was given is not in it: rows were replaced");
    const unsealed = await verifyUnsealed(q, epoch);
    const printed = `${epoch.number}:${end.length}:${head.headMac}`;
    return `${end.length} rows, and ${unsealed} not sealed yet; head ${printed}`;
  }
}

function sequenceFault(sequence: number, last: AuditRow | undefined, row: AuditRow) {
  if (row.sequence === sequence) return undefined;
  if (Number(row.sequence) < sequence) return "was inserted: its sequence is another's or nobody's";
  const after = last ? `after row ${last.logId}` : "the first";
  return `does not follow: the row of sequence ${sequence}, ${after}, was removed`;
}

function placeFault(next: End, row: AuditRow) {
  if (row.chainMac === next.lastMac) return undefined;
  return "is not where it was sealed: rows were reordered, removed or inserted";
}

/** Their number. */
async function verifyUnsealed(q: Queryable, epoch: Epoch) {
  for (let count = 0, after = 0; ; ) {
    const rows = await listUnsealed(q, epoch.number, after, PAGE);
    if (rows.length === 0) return count;
    for (const row of rows) {
      const fault = rowFault(epoch, row);
      if (fault) throw new Broken(`row ${row.logId} (not sealed) ${fault}`);
      count += 1;
      after = row.logId;
    }
  }
}
