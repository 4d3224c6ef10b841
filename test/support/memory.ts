import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
/** At once, and all. */
export const collectGarbage: () => void = runInNewContext("gc");

/** Memory that is still in use, in bytes. Garbage is collected first: when that happens by itself depends on the machine. */
export function memoryInUse(): { heapUsed: number; arrayBuffers: number } {
  collectGarbage();
  return process.memoryUsage();
}
