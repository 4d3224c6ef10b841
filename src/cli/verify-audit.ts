import { type Anchor, verifyTrail } from "../domain/audit-verify.ts";
import { auditSecrets } from "../parts.ts";
import { print, withDatabase } from "./commands.ts";

/** `EPOCH:LENGTH:MAC`, as a verification prints it; undefined for anything else. */
export function parseHead(text: string): Anchor | undefined {
  const [, epoch, length, mac] = /^(\d{1,9}):(\d{1,15}):([0-9a-f]{64})$/.exec(text) ?? [];
  return mac === undefined ? undefined : { epoch: Number(epoch), length: Number(length), mac };
}

/** A folder without a database, which may be the wrong one, stays so. */
const READ_ONLY = { readOnly: true };

/** Prints what the verification says. Whether the trail is whole. */
export function verifyAudit(anchor: Anchor | undefined): Promise<boolean> {
  return withDatabase(async (database, config) => {
    if ((await database.columns("Audit_Heads")).size === 0) {
      print("BROKEN: there is no table Audit_Heads: removed, or never made (npm run migrate)");
      return false;
    }
    const { isWhole, lines } = await verifyTrail(database, auditSecrets(config), anchor);
    for (const line of lines) print(line);
    print(`The audit trail is ${isWhole ? "whole" : "broken"}.`);
    return isWhole;
  }, READ_ONLY);
}
