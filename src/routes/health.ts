import { json, noContent, type Reply } from "../http/replies.ts";
import type { Logger } from "../log.ts";

/** How long readiness waits for one part, in milliseconds. */
const CHECK_TIMEOUT = 2_000;

export interface Check {
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

  return {
    /** Liveness: the process answers. Touches no dependency. */
    live: () => noContent(),

    /** Readiness: 503 names what is down, and while the server stops. */
    async ready(): Promise<Reply> {
      const results = await Promise.all(
        Object.entries(checks).map(async ([name, check]) => {
          const error = await failureOf(check);
          // Anybody may ask, as often as they like: a line tells of a change only.
          if (error !== undefined && !down.has(name))
            log.warn("a part is not ready", { part: name, error });
          if (error === undefined && down.has(name))
            log.info("a part is ready again", { part: name });
          if (error === undefined) down.delete(name);
          else down.add(name);
          return [name, error === undefined ? "ok" : "unavailable"] as const;
        }),
      );
      const status = isStopping()
        ? "stopping"
        : results.every(([, state]) => state === "ok")
          ? "ready"
          : "unavailable";
      const body = { status, checks: Object.fromEntries(results) };
      return status === "ready" ? json(body) : json(body, 503, { "Retry-After": "5" });
    },
  };
}

async function failureOf(check: Check): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new Error(`No answer within ${CHECK_TIMEOUT} ms`)),
      CHECK_TIMEOUT,
    );
  });
  try {
    await Promise.race([check.ping(), late]);
    return undefined;
  } catch (error) {
    return error;
  } finally {
    clearTimeout(timer);
  }
}
