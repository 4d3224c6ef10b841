import { setFlagsFromString } from "node:v8";
import type { App } from "./app.ts";
import { exitUnstarted, openProgram, stopOnSignals } from "./program.ts";

// V8's young generation doubles while it is busy, whatever buffers its garbage holds, and never
// shrinks. Kept small, ten uploads at once take half the memory.
setFlagsFromString("--semi-space-growth-factor=1");
const { config, log } = openProgram();
let app: App | undefined;
// While it starts there is nothing to stop.
stopOnSignals(log, async () => app?.stop());
try {
  const { startApp } = await import("./app.ts");
  app = await startApp(config, log);
  if (config.ENVIRONMENT === "dev")
    process.stderr.write(`Address: ${app.url}\nAPI reference: ${app.url}/docs\n`);
} catch (error) {
  exitUnstarted(log, error);
}
