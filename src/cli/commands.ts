import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import { type Config, ConfigError, describeConfig, loadConfig } from "../config.ts";
import type { Database } from "../data/database.ts";
import { migrationScript } from "../data/migrations/index.ts";
import { openTrail } from "../domain/audit-trail.ts";
import { createAuthority } from "../domain/authority.ts";
import { createRegistration, newAccount } from "../domain/registration.ts";
import { validate } from "../http/validate.ts";
import { createLogger, type Logger } from "../log.ts";
import { auditSecrets, openDatabase, prepareSchema } from "../parts.ts";
import { createPasswords } from "../security/passwords.ts";

export const print = (line: string) => process.stdout.write(`${line}\n`);

export async function withDatabase<Result>(
  work: (database: Database, config: Config, log: Logger) => Promise<Result>,
): Promise<Result> {
  const config = loadConfig();
  const log = createLogger({
    level: "warn",
    readable: process.stderr.isTTY,
    write: (line) => process.stderr.write(line),
  });
  const database = await openDatabase(config, log);
  try {
    return await work(database, config, log);
  } finally {
    await database.close();
  }
}

/** Brings the schema up to date, or prints the SQL of what has not run yet. */
export function migrate(options: { dryRun: boolean }): Promise<void> {
  return withDatabase(async (database, { database: { kind } }) => {
    if (options.dryRun) {
      const pending = await database.pendingMigrations();
      const engine = kind === "embedded" ? "sqlite" : kind;
      print(pending.length > 0 ? migrationScript(engine, pending) : "-- nothing to do");
      return;
    }
    const applied = await database.migrate();
    for (const name of applied) print(`applied ${name}`);
    print(`The database is up to date${applied.length > 0 ? " now" : ""}.`);
  });
}

/**
 * Makes an active admin. Asks for the password without echo on a terminal, else takes the first
 * line of standard input. Throws `validation_failed`, and `bad_request` when the address or the
 * name is taken.
 */
export async function createAdmin(admin: {
  email: string;
  fullName: string | undefined;
  username: string | undefined;
}): Promise<void> {
  const { email, fullName = "Administrator", username } = admin;
  const password = process.stdin.isTTY ? await askSecretly("Password: ") : await readLine();
  const named = username === undefined ? {} : { username };
  const fields = { email, full_name: fullName, password, ...named };
  const account = validate(newAccount, fields, "body");
  await withDatabase(async (database, config, log) => {
    await prepareSchema(config, database, log);
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

/** The first line of standard input, whether or not more follows; empty when there is none. */
async function readLine(): Promise<string> {
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdin.destroy();
    return line;
  }
  return "";
}

/** Throws when the answer is given up with Ctrl-C or Ctrl-D. */
function askSecretly(prompt: string): Promise<string> {
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output: silent, terminal: true });
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  terminal.on("close", () => reject(new Error("No password was given.")));
  terminal.question("", (answer) => {
    resolve(answer);
    terminal.close();
  });
  // Only now: the terminal echoes until the interface has taken it over.
  process.stderr.write(prompt);
  return promise.finally(() => process.stderr.write("\n"));
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
