import { setFlagsFromString } from "node:v8";
import type { App } from "./app.ts";
import { ConfigError, loadConfig, loadEnvFile } from "./config.ts";
import { DatabaseUnreachable } from "./data/database.ts";
import { createLogger, type Logger } from "./log.ts";

// sysexits.h
const EX_UNAVAILABLE = 69;
const EX_SOFTWARE = 70;
const EX_CONFIG = 78;

/** npm passes a Ctrl-C on that the terminal has sent to the server already: the echo is no second signal. In milliseconds. */
const SIGNAL_ECHO = 200;

function readConfig() {
  try {
    loadEnvFile(".env");
    return loadConfig();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(EX_CONFIG);
  }
}

/** The first signal stops the server in order, or at once while it is still starting; the next one ends the process. */
function stopOnSignals(log: Logger, runningApp: () => App | undefined): void {
  let stoppingSince: number | undefined;
  const stop = async (signal: string) => {
    if (stoppingSince !== undefined) {
      if (performance.now() - stoppingSince > SIGNAL_ECHO) process.exit(1);
      return;
    }
    stoppingSince = performance.now();
    log.info("stopping", { signal });
    await runningApp()?.stop();
    log.info("stopped");
    process.exit(0);
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, stop);
}

function exitCode(error: unknown): number {
  if (error instanceof ConfigError) return EX_CONFIG;
  return error instanceof DatabaseUnreachable ? EX_UNAVAILABLE : 1;
}

// V8 lets garbage pile up until its young generation is full, and the buffers that hang on it are outside of its count. Kept small
// it is cleared often: ten uploads at once take half the memory. It can't shrink, so the app is loaded only now.
setFlagsFromString("--semi-space-growth-factor=1");
const config = readConfig();
// Nobody reads any more: no reason to stop serving.
process.stdout.on("error", () => {});
const log = createLogger({
  level: config.logLevel,
  readable: config.environment === "dev" && process.stdout.isTTY,
  write: (line) => process.stdout.write(line),
});
process.on("unhandledRejection", (error) => log.error("unhandled rejection", { error }));
process.on("uncaughtException", (error) => {
  log.error("uncaught exception", { error });
  process.exit(EX_SOFTWARE);
});

let app: App | undefined;
stopOnSignals(log, () => app);
try {
  const { startApp } = await import("./app.ts");
  app = await startApp(config, log);
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  log.error(`cannot start: ${message}`, { error });
  process.exit(exitCode(error));
}
