import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import { type Config, ConfigError, describeConfig, loadConfig } from "../config.ts";
import type { Database } from "../data/database.ts";
import { listDueDeletions } from "../data/deletions.ts";
import { openTrail } from "../domain/audit-trail.ts";
import { type Anchor, verifyTrail } from "../domain/audit-verify.ts";
import { type Core, createAuthority } from "../domain/authority.ts";
import { createBlobFinder } from "../domain/blobs.ts";
import { createDeletions, type Stores } from "../domain/deletions.ts";
import { checkAll } from "../domain/integrity.ts";
import { createRegistration, newAccount } from "../domain/registration.ts";
import { judge, sweepAccounts } from "../domain/sweep.ts";
import { validate } from "../http/validate.ts";
import { createLogger } from "../log.ts";
import { auditSecrets, type Opening, openDatabase, openParts, prepareSchema } from "../parts.ts";
import { createPasswords } from "../security/passwords.ts";
import { createClosers } from "../stopping.ts";

const BATCH = 100;
/** Milliseconds between two lines of progress. */
const PROGRESS_INTERVAL = 250;

const print = (line: string) => process.stdout.write(`${line}\n`);

/** One line, whatever is in the names that others gave. */
const printFinding = (line: string) => print(line.replace(/\p{Cc}/gu, "\ufffd"));

const log = createLogger({
  level: "warn",
  readable: process.stderr.isTTY,
  write: (line) => process.stderr.write(line),
});

async function withDatabase<Result>(
  work: (database: Database, config: Config) => Promise<Result>,
  opening: Opening = {},
) {
  const config = loadConfig();
  const database = await openDatabase(config, log, opening);
  try {
    return await work(database, config);
  } finally {
    await database.close();
  }
}

/** What the domain needs to look after the stores of a server that has run. */
async function withStores<Result>(
  readOnly: boolean,
  work: (stores: Stores & Pick<Core, "database" | "now">) => Promise<Result>,
) {
  const { onStop, close } = createClosers(log, 9);
  try {
    const parts = await openParts(loadConfig(), log, onStop, { readOnly, hasRun: true });
    const findBlob = createBlobFinder(parts.storage);
    return await work({ ...parts, findBlob, log, now: () => new Date() });
  } finally {
    await close();
  }
}

export function migrate(): Promise<void> {
  return withDatabase(async (database) => {
    const applied = await database.migrate();
    for (const name of applied) print(`applied ${name}`);
    print(`The database is up to date${applied.length > 0 ? " now" : ""}.`);
  });
}

/** Throws `validation_failed`, and `bad_request` when the address or the name is taken. */
export async function createAdmin(options: {
  email: string;
  username?: string;
  "full-name"?: string;
}): Promise<void> {
  const { "full-name": full_name = "Administrator", ...named } = options;
  const fields = { ...named, full_name, password: await readPassword() };
  const account = validate(newAccount, fields, "body");
  await withDatabase(async (database, config) => {
    await prepareSchema(config, database);
    const now = () => new Date();
    const trail = await openTrail({ database, secrets: auditSecrets(config), now, log });
    const core = { database, authority: createAuthority(database), audit: trail.audit, now };
    const passwords = createPasswords();
    try {
      const registration = createRegistration(core, passwords);
      const user = await registration.createAdmin(account);
      print(`Made the administrator ${user.email} (user ${user.userId}, ${user.username}).`);
    } finally {
      await passwords.close();
      await trail.close();
    }
  });
}

async function readPassword(): Promise<string> {
  const { stdin, stderr } = process;
  const output = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: stdin, output, terminal: stdin.isTTY });
  if (stdin.isTTY) stderr.write("Password: ");
  try {
    for await (const line of lines) return line;
    throw new Error("No password was given.");
  } finally {
    lines.close();
    stdin.destroy();
    if (stdin.isTTY) stderr.write("\n");
  }
}

/** Prints the configuration and what is wrong with it. Whether it can be used. */
export function checkConfig(): boolean {
  for (const line of describeConfig()) print(line);
  try {
    loadConfig();
    print("\nThe configuration is complete.");
    return true;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    print(`\n${error.message}`);
    return false;
  }
}

/** Removes what was left behind, and prints it; with `dryRun` only prints it. */
export function sweep(dryRun = false): Promise<void> {
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

    for (const name of (await storage.removeUnfinished?.(dryRun)) ?? [])
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

/** Prints each finding, and on a terminal the progress. Whether there are none. */
export function checkIntegrity(): Promise<boolean> {
  return withStores(true, async (stores) => {
    const progress = (text: string) => {
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
    };
    const counts = { documents: 0, blobs: 0, findings: 0 };
    const sum = () =>
      `${counts.documents} documents, ${counts.blobs} blobs: ${counts.findings} findings`;
    let next = 0;
    for await (const { documents, blobs, findings } of checkAll(stores)) {
      if (findings.length > 0) progress("");
      for (const finding of findings) printFinding(finding);
      counts.documents += documents;
      counts.blobs += blobs;
      counts.findings += findings.length;
      if (performance.now() < next) continue;
      progress(sum());
      next = performance.now() + PROGRESS_INTERVAL;
    }
    progress("");
    print(`Checked ${sum()}.`);
    return counts.findings === 0;
  });
}

/** Prints what the verification says. Whether the trail is whole. */
export function verifyAudit(anchor: Anchor | undefined): Promise<boolean> {
  // Read only: a folder without a database, which may be the wrong one, stays so.
  return withDatabase(
    async (database, config) => {
      if ((await database.columns("Audit_Heads")).size === 0) {
        print("BROKEN: there is no table Audit_Heads: removed, or never made (npm run migrate)");
        return false;
      }
      const { isWhole, lines } = await verifyTrail(database, auditSecrets(config), anchor);
      for (const line of lines) print(line);
      print(`The audit trail is ${isWhole ? "whole" : "broken"}.`);
      return isWhole;
    },
    { readOnly: true },
  );
}
