import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import { type Config, ConfigError, describeConfig, loadConfig } from "../config.ts";
import type { Database } from "../data/database.ts";
import { openTrail } from "../domain/audit-trail.ts";
import { type Core, createAuthority } from "../domain/authority.ts";
import { createBlobFinder } from "../domain/blobs.ts";
import type { Stores } from "../domain/deletions.ts";
import { createRegistration, newAccount } from "../domain/registration.ts";
import { validate } from "../http/validate.ts";
import { createLogger } from "../log.ts";
import { auditSecrets, type Opening, openDatabase, openParts, prepareSchema } from "../parts.ts";
import { createPasswords } from "../security/passwords.ts";
import { createClosers } from "../stopping.ts";

export const print = (line: string) => process.stdout.write(`${line}\n`);

/** One line, whatever is in the names that others gave. */
export const printFinding = (line: string) => print(line.replace(/\p{Cc}/gu, "\ufffd"));

const log = createLogger({
  level: "warn",
  readable: process.stderr.isTTY,
  write: (line) => process.stderr.write(line),
});

export async function withDatabase<Result>(
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
export async function withStores<Result>(
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

/** The first line of standard input. A terminal is asked for it and does not show it. */
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
