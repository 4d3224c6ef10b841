import { createHash } from "node:crypto";
import { AppError } from "../errors.ts";

export interface Throttle {
  /** Takes a token from the key's bucket, or throws `too_many_requests` with `Retry-After`; a refused attempt takes none. */
  take(key: string): void;
}

/** Keys remembered at most: some ten megabytes. */
const MAX_KEYS = 100_000;

/**
 * Token buckets of `perMinute` tokens that refill at `perMinute` a minute; 0 turns the throttle off. `now` is a monotonic clock in
 * milliseconds. A bucket is one number, the instant at which it will be full (the generic cell rate algorithm).
 */
export function createThrottle({
  perMinute,
  now = () => performance.now(),
  maxKeys = MAX_KEYS,
}: {
  perMinute: number;
  now?: () => number;
  maxKeys?: number;
}): Throttle {
  if (perMinute === 0) return { take() {} };
  const interval = 60_000 / perMinute;
  const fullAt = new Map<string, number>();

  return {
    take(key) {
      const instant = now();
      const bucket = key.length > 100 ? createHash("sha256").update(key).digest("base64") : key;
      const next = Math.max(fullAt.get(bucket) ?? instant, instant) + interval;
      const wait = next - instant - 60_000;
      // The margin is for the rounding of sums of fractions.
      if (wait > 0.001) throw tooMany(Math.max(1, Math.ceil((wait - 0.001) / 1000)));
      if (fullAt.size >= maxKeys && !fullAt.has(bucket)) makeRoom(fullAt, instant, maxKeys);
      fullAt.set(bucket, next);
    },
  };
}

/**
 * Forgets full buckets and, where these are not enough, a tenth of the places: the buckets that miss least. So nobody resets an
 * emptied bucket without emptying as many others as there is room for.
 */
function makeRoom(fullAt: Map<string, number>, instant: number, maxKeys: number): void {
  for (const [key, full] of fullAt) {
    if (full <= instant) fullAt.delete(key);
  }
  const spare = Math.ceil(maxKeys / 10);
  if (fullAt.size <= maxKeys - spare) return;
  const leastMissing = [...fullAt].sort(([, a], [, b]) => a - b).slice(0, fullAt.size - (maxKeys - spare));
  for (const [key] of leastMissing) fullAt.delete(key);
}

function tooMany(retryAfterSeconds: number): AppError {
  return new AppError("too_many_requests", "Too many requests. Please try again later.", {
    headers: { "Retry-After": String(retryAfterSeconds) },
  });
}
