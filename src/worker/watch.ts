import type { EngineProcess } from "./engine-process.ts";
import type { Limits } from "./limits.ts";
import { spell, Unreadable } from "./unreadable.ts";

const MEMORY_CHECKED_EACH = 250;

export interface Watch {
  /** All bytes are there: from now on the time is the document's. */
  start(): void;
  /** A page is done. */
  onPage(): void;
  stop(): void;
}

/** Kills an engine process that takes more time or memory for a document than the limits allow. */
export function watchEngine(engine: EngineProcess, limits: Limits): Watch {
  const timers: NodeJS.Timeout[] = [];
  let pageTimer: NodeJS.Timeout | undefined;
  const kill = (message: string) => engine.kill(new Unreadable(message));

  function limit(what: string, seconds: number): NodeJS.Timeout {
    const message = `${what} takes longer than ${spell(seconds)} seconds to read.`;
    const advice = "Split the document, or send it scanned again or in a lower resolution.";
    return setTimeout(kill, seconds * 1_000, `${message} ${advice}`);
  }
  const checkMemory = () => {
    if (engine.memory() <= limits.memoryBytes) return;
    kill(
      `Reading the document takes more memory than ${spell(limits.memoryBytes / 1e6)} MB. ` +
        "Split it, or send it in a lower resolution.",
    );
  };
  timers.push(setInterval(checkMemory, MEMORY_CHECKED_EACH));
  return {
    start() {
      timers.push(limit("The document", limits.documentSeconds));
      pageTimer = limit("A page", limits.pageSeconds);
    },
    onPage: () => void pageTimer?.refresh(),
    stop() {
      for (const timer of timers) clearTimeout(timer);
      clearTimeout(pageTimer);
    },
  };
}
