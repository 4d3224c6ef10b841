import { existsSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { type Config, ConfigError, loadConfig, loadEnvFile } from "./config.ts";
import { DatabaseUnreachable } from "./data/database.ts";
import { collectLines, createLogger, type Logger } from "./log.ts";

// sysexits.h
const EX_UNAVAILABLE = 69;
const EX_SOFTWARE = 70;
const EX_CONFIG = 78;

/** Milliseconds. npm passes on the Ctrl-C that the server got too: a signal so soon is the same. */
const SIGNAL_ECHO = 200;

/**
 * What a program that runs for long begins with: its configuration, or exit code 78, and a log on
 * standard output whose lines all have `fields`. Faults that nobody catches are logged.
 */
export function openProgram(fields: Record<string, string> = {}): { config: Config; log: Logger } {
  const config = readConfig();
  // Nobody reads any more: no reason to stop serving.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
  const log = createLogger({
    level: config.LOG_LEVEL,
    readable: config.ENVIRONMENT === "dev" && process.stdout.isTTY,
    write: collectLines((lines) => process.stdout.write(lines)),
    // Of several processes each line says whose it is.
    fields: config.WEB_CONCURRENCY > 1 ? { pid: String(process.pid), ...fields } : fields,
  });
  process.on("unhandledRejection", (error) => log.error("unhandled rejection", { error }));
  process.on("uncaughtException", (error) => {
    log.error("uncaught exception", { error });
    process.exit(EX_SOFTWARE);
  });
  return { config, log };
}

function readConfig(): Config {
  try {
    loadEnvFile(".env");
    return loadConfig();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(EX_CONFIG);
  }
}

/**
 * Stops in order on SIGTERM or SIGINT, or when what is returned is called; then the process ends
 * with 0. The next signal ends it at once.
 */
export function stopOnSignals(log: Logger, stop: () => Promise<void>): (why: string) => void {
  let stoppingSince: number | undefined;
  async function begin(signal: string): Promise<void> {
    if (stoppingSince !== undefined) return;
    stoppingSince = performance.now();
    log.info("stopping", { signal });
    // That line is written before those of other processes.
    await turn();
    await stop();
    log.info("stopped");
    process.exit(0);
  }
  for (const signal of ["SIGTERM", "SIGINT"])
    process.on(signal, () => {
      if (performance.now() - (stoppingSince ?? Infinity) > SIGNAL_ECHO) process.exit(1);
      begin(signal);
    });
  return begin;
}

/** In development says on standard error, below the line `ready`, where the server is. */
export function tellAddress({ ENVIRONMENT }: Config, url: string): void {
  if (ENVIRONMENT !== "dev") return;
  const hasPages = existsSync(new URL("../node_modules/swagger-ui-dist", import.meta.url));
  const told = `Address: ${url}\n${hasPages ? `API reference: ${url}/docs\n` : ""}`;
  setImmediate(() => process.stderr.write(told));
}

/** Ends a program whose start failed: 78 for its configuration, 69 without a database, else 1. */
export function exitUnstarted(log: Logger, error: unknown): never {
  log.error(`cannot start: ${error instanceof Error ? error.message : error}`, { error });
  if (error instanceof ConfigError) process.exit(EX_CONFIG);
  process.exit(error instanceof DatabaseUnreachable ? EX_UNAVAILABLE : 1);
}
