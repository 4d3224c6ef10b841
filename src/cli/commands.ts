import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import { type Config, ConfigError, describeConfig, loadConfig } from "../config.ts";
import type { Database } from "../data/database.ts";
import { createAudit } from "../domain/audit.ts";
import { createAuthority } from "../domain/authority.ts";
import { createRegistration, newAccount } from "../domain/registration.ts";
import { validate } from "../http/validate.ts";
import { createLogger, type Logger } from "../log.ts";
import { openDatabase, prepareSchema } from "../parts.ts";
import { createPasswords } from "../security/passwords.ts";

const print = (line: string) => process.stdout.write(`${line}\n`);

async function withDatabase(
  work: (database: Database, config: Config, log: Logger) => Promise<void>,
): Promise<void> {
  const config = loadConfig();
  const log = createLogger({
    level: "warn",
    readable: process.stderr.isTTY,
    write: (line) => process.stderr.write(line),
  });
  const database = await openDatabase(config, log);
  try {
    await work(database, config, log);
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
