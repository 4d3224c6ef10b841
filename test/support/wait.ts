import { setTimeout as sleep } from "node:timers/promises";

/** Waits until `condition` gives something, and returns it; fails naming `what` it waited for. */
export async function until<Value>(
  condition: () => Value | false | undefined | Promise<Value | false | undefined>,
  what: string,
  milliseconds = 120_000,
): Promise<Value> {
  const deadline = performance.now() + milliseconds;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`In vain waited for: ${what}`);
    await sleep(10);
  }
}
