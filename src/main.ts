import { setFlagsFromString } from "node:v8";
import { exitUnstarted, openProgram, stopOnSignals, tellAddress } from "./program.ts";

// V8's young generation doubles while it is busy, whatever buffers its garbage holds, and never
// shrinks. Kept small, ten uploads at once take half the memory.
setFlagsFromString("--semi-space-growth-factor=1");
const { config, log } = openProgram();
let running: { stop(): Promise<void> } | undefined;
// While it starts there is nothing to stop.
const stop = stopOnSignals(log, async () => running?.stop());
try {
  if (config.WEB_CONCURRENCY > 1) {
    const { runCluster } = await import("./cluster.ts");
    running = await runCluster(config, log, stop);
  } else {
    const { startApp } = await import("./app.ts");
    const app = await startApp(config, log);
    running = app;
    tellAddress(config, app.url);
  }
} catch (error) {
  exitUnstarted(log, error);
}
