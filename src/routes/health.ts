import { within } from "../errors.ts";
import { json, noContent, type Reply } from "../http/replies.ts";
import type { Logger } from "../log.ts";

/** For one part, in milliseconds. */
const CHECK_TIMEOUT = 2_000;

interface Check {
  ping(): Promise<void>;
}

export function createHealthRoutes({
  checks,
  isStopping,
  log,
}: {
  checks: Readonly<Record<"database" | "storage" | "broker" | "content", Check>>;
  isStopping: () => boolean;
  log: Logger;
}) {
  const down = new Set<string>();

  /** Anybody may ask, as often as they like: a line in the log tells of a change only. */
  async function stateOf(part: string, check: Check): Promise<"ok" | "unavailable"> {
    try {
      await within(check.ping(), CHECK_TIMEOUT, "No answer");
      if (down.delete(part)) log.info("a part is ready again", { part });
      return "ok";
    } catch (error) {
      if (!down.has(part)) log.warn("a part is not ready", { part, error });
      down.add(part);
      return "unavailable";
    }
  }

  return {
    /** Liveness: the process answers. Touches no dependency. */
    live: () => noContent(),

    /** Readiness: 503 names what is down, and while the server stops. */
    async ready(): Promise<Reply> {
      const states = await Promise.all(
        Object.entries(checks).map(
          async ([part, check]) => [part, await stateOf(part, check)] as const,
        ),
      );
      const isReady = states.every(([, state]) => state === "ok");
      const status = isStopping() ? "stopping" : isReady ? "ready" : "unavailable";
      const body = { status, checks: Object.fromEntries(states) };
      return status === "ready" ? json(body) : json(body, 503, { "Retry-After": "5" });
    },
  };
}
