import { within } from "./errors.ts";
import type { Logger } from "./log.ts";

/** In this order: first who asks, then who works, then what they use. */
const STAGES = ["server", "work", "parts", "databases"] as const;

/** For all stages after the server, and of it for each stage that follows. Milliseconds. */
const CLOSING = 5_000;
const RESERVED = 200;

/** Remembers what closes a part. Those of one stage, `work` unless told, close side by side. */
export type OnStop = (
  part: string,
  close: () => Promise<void>,
  stage?: (typeof STAGES)[number],
) => void;

/** `close` ends within `seconds` and one more. What has not closed by then is logged and left. */
export function createClosers(log: Logger, seconds: number) {
  const stages = new Map(STAGES.map((stage) => [stage, [] as Parameters<OnStop>[]]));

  const onStop: OnStop = (...part) => void stages.get(part[2] ?? "work")?.unshift(part);

  async function close(): Promise<void> {
    let end = performance.now() + (seconds + 1) * 1000;
    let following = STAGES.length - 1;
    for (const parts of stages.values()) {
      const left = Math.max(0, end - following-- * RESERVED - performance.now());
      const closing = parts.splice(0).map(async ([part, work]) => {
        try {
          await within(work(), left, "It did not close");
          log.debug("closed", { part });
        } catch (error) {
          log.warn("a part did not close cleanly", { part, error });
        }
      });
      await Promise.all(closing);
      end = Math.min(end, performance.now() + CLOSING);
    }
  }

  return { onStop, close };
}
