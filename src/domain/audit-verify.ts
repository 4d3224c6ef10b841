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
import { type Epoch, extend, headMac, rowFault, START } from "./audit-macs.ts";

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
export async function verifyTrail(
  q: Queryable,
  secrets: Secrets,
  anchor?: Anchor,
): Promise<{ isWhole: boolean; lines: string[] }> {
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
  const { total, newest } = await findRowsOutside(q);
  const until = total > 0 ? `, the newest is row ${newest}` : "";
  lines.push(`outside of the chain (older, or written by others): ${total} rows${until}`);
  return { isWhole, lines };
}

/** What there is to say of an epoch that is whole. Throws Broken with what is wrong first. */
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
      refuseGap(end.length + 1, last, row);
      end = follow(epoch, end, row);
      last = row;
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

/** Each row has the sequence that follows that of the row before. */
function refuseGap(sequence: number, last: AuditRow | undefined, row: AuditRow): void {
  if (row.sequence === sequence) return;
  const between = `${last ? `after row ${last.logId} and ` : ""}before row ${row.logId}`;
  throw new Broken(
    Number(row.sequence) > sequence
      ? `the row of sequence ${sequence} was removed, ${between}`
      : `row ${row.logId} was inserted: its sequence ${row.sequence} is another row's or nobody's`,
  );
}

function follow(epoch: Epoch, end: typeof START, row: AuditRow) {
  const place = `row ${row.logId} (sequence ${row.sequence})`;
  const fault = rowFault(epoch, row);
  if (fault) throw new Broken(`${place} ${fault}`);
  const next = extend(epoch, end, row);
  if (row.chainMac !== next.lastMac)
    throw new Broken(
      `${place} is not where it was sealed: rows were reordered, removed or inserted`,
    );
  return next;
}

/** How many rows wait for the sealer. */
async function verifyUnsealed(q: Queryable, epoch: Epoch): Promise<number> {
  let count = 0;
  for (let after = 0; ; ) {
    const rows = await listUnsealed(q, epoch.number, after, PAGE);
    for (const row of rows) {
      const fault = rowFault(epoch, row);
      if (fault) throw new Broken(`row ${row.logId} (not sealed) ${fault}`);
    }
    count += rows.length;
    const last = rows.at(-1);
    if (!last) return count;
    after = last.logId;
  }
}
