import { type ParseArgsConfig, parseArgs } from "node:util";
import { ConfigError, loadEnvFile } from "../config.ts";
import { DatabaseUnreachable } from "../data/database.ts";
import { AppError } from "../errors.ts";
import { checkIntegrity } from "./check-integrity.ts";
import { checkConfig, createAdmin, migrate } from "./commands.ts";
import { sweep } from "./sweep.ts";
import { parseHead, verifyAudit } from "./verify-audit.ts";

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

/** The values of the options. Throws UsageError for anything else. */
function read<const Options extends ParseArgsConfig["options"]>(args: string[], options: Options) {
  try {
    return parseArgs({ args, options }).values;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

async function run([command, ...args]: string[]): Promise<number> {
  loadEnvFile(".env");
  switch (command) {
    case "create-admin": {
      const { email, ...names } = read(args, { email: TEXT, "full-name": TEXT, username: TEXT });
      if (!email) throw new UsageError("'create-admin' needs --email.");
      await createAdmin({ email, ...names });
      return 0;
    }
    case "migrate":
      read(args, {});
      await migrate();
      return 0;
    case "config":
      read(args, { check: FLAG });
      return checkConfig() ? 0 : EX_CONFIG;
    case "sweep": {
      const { "dry-run": dryRun = false } = read(args, { "dry-run": FLAG });
      await sweep({ dryRun });
      return 0;
    }
    case "check-integrity":
      read(args, {});
      return (await checkIntegrity()) ? 0 : 1;
    case "verify-audit": {
      const { head } = read(args, { head: TEXT });
      const anchor = head === undefined ? undefined : parseHead(head);
      if (head !== undefined && !anchor) throw new UsageError("--head is not a head as printed.");
      return (await verifyAudit(anchor)) ? 0 : 1;
    }
    case undefined:
      throw new UsageError("A command is missing.");
    default:
      throw new UsageError(`There is no command '${command}'.`);
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
