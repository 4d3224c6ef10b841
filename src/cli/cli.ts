import { type ParseArgsConfig, parseArgs } from "node:util";
import { ConfigError, loadEnvFile } from "../config.ts";
import { DatabaseUnreachable } from "../data/database.ts";
import { AppError } from "../errors.ts";
import * as commands from "./commands.ts";

const HELP = `Usage: node dist/cli/cli.js <command> [options]

Commands:
  create-admin --email ADDRESS [--full-name NAME] [--username NAME]
      makes an active administrator; asks for the password, or reads it from
      standard input
  migrate
      brings the database up to date and says what it did
  config [--check]
      prints the effective configuration, secrets masked, and all that is wrong
  sweep [--dry-run]
      removes what was left behind: deletions that are due, blobs without a
      document, ended sessions, expired password resets
  check-integrity
      reads every document, its blob and its text, and says which don't agree
  verify-audit [--head EPOCH:LENGTH:MAC]
      walks the audit trail and names the first row that was changed, removed,
      inserted or cut off; --head, printed earlier, must still be in it

  -h, --help prints this.

Exit codes: 0 done, 1 failed, 64 wrong usage, 69 a store unreachable,
78 wrong configuration
`;

// sysexits.h
const EX_USAGE = 64;
const EX_UNAVAILABLE = 69;
const EX_CONFIG = 78;

const TEXT = { type: "string" } as const;
const FLAG = { type: "boolean" } as const;

class UsageError extends Error {
  override readonly name = "UsageError";
}

function read<const Options extends ParseArgsConfig["options"]>(args: string[], options: Options) {
  try {
    return parseArgs({ args, options }).values;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

/** The head of the audit trail as a verification prints it. Throws UsageError for anything else. */
function parseHead(head: string) {
  const [, epoch, length, mac] = /^(\d{1,9}):(\d{1,15}):([0-9a-f]{64})$/.exec(head) ?? [];
  if (mac === undefined) throw new UsageError("--head is not a head as printed.");
  return { epoch: Number(epoch), length: Number(length), mac };
}

async function run([command, ...args]: string[]): Promise<number> {
  loadEnvFile(".env");
  switch (command) {
    case "create-admin": {
      const { email, ...names } = read(args, { email: TEXT, "full-name": TEXT, username: TEXT });
      if (!email) throw new UsageError("'create-admin' needs --email.");
      await commands.createAdmin({ email, ...names });
      return 0;
    }
    case "migrate":
      read(args, {});
      await commands.migrate();
      return 0;
    case "config":
      read(args, { check: FLAG });
      return commands.checkConfig() ? 0 : EX_CONFIG;
    case "sweep":
      await commands.sweep(read(args, { "dry-run": FLAG })["dry-run"]);
      return 0;
    case "check-integrity":
      read(args, {});
      return (await commands.checkIntegrity()) ? 0 : 1;
    case "verify-audit": {
      const { head } = read(args, { head: TEXT });
      return (await commands.verifyAudit(head === undefined ? head : parseHead(head))) ? 0 : 1;
    }
    default:
      throw new UsageError(command ? `There is no command '${command}'.` : "A command is missing.");
  }
}

function exitCode(error: unknown): number {
  if (error instanceof UsageError) return EX_USAGE;
  if (error instanceof ConfigError) return EX_CONFIG;
  const isAway = error instanceof AppError && error.code === "unavailable";
  return isAway || error instanceof DatabaseUnreachable ? EX_UNAVAILABLE : 1;
}

/** A line for each fault of a field; never a stack, never a value. */
function messageOf(error: unknown): string {
  if (error instanceof AppError && typeof error.detail !== "string") {
    return error.detail.map(({ loc, msg }) => `${loc.slice(1).join(".")}: ${msg}`).join("\n");
  }
  return error instanceof Error ? error.message : String(error);
}

// With `config | head` nobody reads any more.
process.stdout.on("error", () => {});
const words = process.argv.slice(2);
if (words.includes("--help") || words.includes("-h")) process.stdout.write(HELP);
else {
  try {
    process.exitCode = await run(words);
  } catch (error) {
    const help = error instanceof UsageError ? `\n${HELP}` : "";
    process.stderr.write(`${messageOf(error)}\n${help}`);
    process.exitCode = exitCode(error);
  }
}
