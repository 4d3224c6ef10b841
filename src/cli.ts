import { join } from "node:path";
import { parseArgs } from "node:util";
import { checkConfig, createAdmin, migrate } from "./commands.ts";
import { ConfigError, loadEnvFile } from "./config.ts";
import { DatabaseUnreachable } from "./data/database.ts";
import { runDemo } from "./demo.ts";
import { AppError } from "./errors.ts";

const HELP = `Usage: node dist/cli.js <command> [options]

Commands:
  create-admin --email ADDRESS [--full-name NAME] [--username NAME]
                       makes an active administrator; asks for the password, or reads it from standard input
  migrate [--dry-run]  brings the database up to date and says what it did; --dry-run prints the SQL instead
  demo [--samples DIR] runs the whole job on a temporary folder and prints each step
  config [--check]     prints the effective configuration, secrets masked, and everything that is wrong with it

Options:
  -h, --help           prints this

Exit codes: 0 done, 1 failed, 64 wrong usage, 69 database unreachable, 78 wrong configuration
`;

// sysexits.h
const EX_USAGE = 64;
const EX_UNAVAILABLE = 69;
const EX_CONFIG = 78;

/** Beside `src` and `dist`, wherever the command is called from. */
const SAMPLES = join(import.meta.dirname, "../test/samples");

const OPTIONS = {
  email: { type: "string" },
  "full-name": { type: "string" },
  username: { type: "string" },
  "dry-run": { type: "boolean" },
  samples: { type: "string" },
  check: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;

/** Options that a command takes beside `--help`. */
const COMMANDS: Record<string, readonly string[]> = {
  "create-admin": ["email", "full-name", "username"],
  migrate: ["dry-run"],
  demo: ["samples"],
  config: ["check"],
};

const print = (text: string) => process.stdout.write(`${text}\n`);

class UsageError extends Error {
  override readonly name = "UsageError";
}

function parse(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

async function run(args: string[]): Promise<number> {
  const { values, positionals } = parse(args);
  const [command, ...rest] = positionals;
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  if (command === undefined) throw new UsageError("A command is missing.");
  const allowed = Object.hasOwn(COMMANDS, command) && COMMANDS[command];
  if (!allowed) throw new UsageError(`There is no command '${command}'.`);
  const foreign = [
    ...rest,
    ...Object.keys(values)
      .filter((name) => !allowed.includes(name))
      .map((name) => `--${name}`),
  ];
  if (foreign.length > 0) throw new UsageError(`'${command}' does not take ${foreign.join(" ")}.`);

  loadEnvFile(".env");
  switch (command) {
    case "create-admin":
      if (!values.email) throw new UsageError("'create-admin' needs --email.");
      await createAdmin(
        { email: values.email, fullName: values["full-name"], username: values.username },
        print,
      );
      return 0;
    case "migrate":
      await migrate({ dryRun: values["dry-run"] ?? false }, print);
      return 0;
    case "demo":
      await runDemo(values.samples ?? SAMPLES, print);
      return 0;
    default:
      return checkConfig(print) ? 0 : EX_CONFIG;
  }
}

function exitCode(error: unknown): number {
  if (error instanceof UsageError) return EX_USAGE;
  if (error instanceof ConfigError) return EX_CONFIG;
  return error instanceof DatabaseUnreachable ? EX_UNAVAILABLE : 1;
}

/** A line for each fault of a field; never a stack, never a value. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof AppError && typeof error.detail !== "string") {
    return error.detail.map(({ loc, msg }) => `${loc.slice(1).join(".")}: ${msg}`).join("\n");
  }
  // An AggregateError of the network has none.
  return error.message || String((error as NodeJS.ErrnoException).code ?? error.name);
}

// `config | head`: nobody reads any more.
process.stdout.on("error", () => {});
try {
  process.exitCode = await run(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n${error instanceof UsageError ? `\n${HELP}` : ""}`);
  process.exitCode = exitCode(error);
}
