import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import { type Config, ConfigError, describeConfig, loadConfig } from "../config.ts";
import type { Database } from "../data/database.ts";
import { createAudit } from "../domain/audit.ts";
import { createAuthority } from "../domain/authority.ts";
import { createRegistration, newAccount } from "../domain/registration.ts";
import { validate } from "../http/validate.ts";
import { createLogger } from "../log.ts";
import { openDatabase, prepareSchema } from "../parts.ts";
import { createPasswords } from "../security/passwords.ts";

const print = (line: string) => process.stdout.write(`${line}\n`);

async function withDatabase(
  work: (database: Database, config: Config) => Promise<void>,
): Promise<void> {
  const config = loadConfig();
  const log = createLogger({
    level: "warn",
    readable: process.stderr.isTTY,
    write: (line) => process.stderr.write(line),
  });
  const database = await openDatabase(config, log);
  try {
    await work(database, config);
  } finally {
    await database.close();
  }
}

/** Brings the schema up to date. */
export function migrate(): Promise<void> {
  return withDatabase(async (database) => {
    const applied = await database.migrate();
    for (const name of applied) print(`applied ${name}`);
    print(`The database is up to date${applied.length > 0 ? " now" : ""}.`);
  });
}

/**
 * Makes an active admin. Throws `validation_failed`, and `bad_request` when the address or the
 * name is taken.
 */
export async function createAdmin(options: {
  email: string;
  username?: string | undefined;
  "full-name"?: string | undefined;
}): Promise<void> {
  const { email, username, "full-name": full_name = "Administrator" } = options;
  const named = username === undefined ? {} : { username };
  const fields = { email, full_name, password: await readPassword(), ...named };
  const account = validate(newAccount, fields, "body");
  await withDatabase(async (database, config) => {
    await prepareSchema(config, database);
    const passwords = createPasswords();
    try {
      const now = () => new Date();
      const [authority, audit] = [createAuthority(database), createAudit({ now })];
      const registration = createRegistration({ database, authority, audit, now }, passwords);
      const user = await registration.createAdmin(account);
      print(`Made the administrator ${user.email} (user ${user.userId}, ${user.username}).`);
    } finally {
      await passwords.close();
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

/** Prints the configuration, secrets masked, then what is wrong with it. Whether it can be used. */
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
