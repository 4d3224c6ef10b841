import { setFlagsFromString } from "node:v8";
import type { App } from "./app.ts";
import { ConfigError, loadConfig, loadEnvFile } from "./config.ts";
import { DatabaseUnreachable } from "./data/database.ts";
import { createLogger } from "./log.ts";

// sysexits.h
const EX_UNAVAILABLE = 69;
const EX_SOFTWARE = 70;
const EX_CONFIG = 78;

/** Milliseconds. npm passes on the Ctrl-C that the server got too: a signal so soon is the same. */
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

// V8's young generation doubles while it is busy, whatever buffers its garbage holds, and never
// shrinks. Kept small, ten uploads at once take half the memory.
setFlagsFromString("--semi-space-growth-factor=1");
const config = readConfig();
// Nobody reads any more: no reason to stop serving.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
const log = createLogger({
  level: config.LOG_LEVEL,
  readable: config.ENVIRONMENT === "dev" && process.stdout.isTTY,
  write: (line) => process.stdout.write(line),
});
process.on("unhandledRejection", (error) => log.error("unhandled rejection", { error }));
process.on("uncaughtException", (error) => {
  log.error("uncaught exception", { error });
  process.exit(EX_SOFTWARE);
});

let app: App | undefined;
let stoppingSince: number | undefined;

/** Stops the server in order, or at once while it starts. The next signal ends the process. */
async function stop(signal: string): Promise<void> {
  if (stoppingSince !== undefined) {
    if (performance.now() - stoppingSince > SIGNAL_ECHO) process.exit(1);
    return;
  }
  stoppingSince = performance.now();
  log.info("stopping", { signal });
  await app?.stop();
  log.info("stopped");
  process.exit(0);
}

for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, stop);
try {
  const { startApp } = await import("./app.ts");
  app = await startApp(config, log);
  if (config.ENVIRONMENT === "dev")
    process.stderr.write(`Address: ${app.url}\nAPI reference: ${app.url}/docs\n`);
} catch (error) {
  log.error(`cannot start: ${error instanceof Error ? error.message : error}`, { error });
  if (error instanceof ConfigError) process.exit(EX_CONFIG);
  process.exit(error instanceof DatabaseUnreachable ? EX_UNAVAILABLE : 1);
}
