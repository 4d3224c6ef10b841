import { createHash } from "node:crypto";
import { AppError } from "../errors.ts";

export interface Throttle {
  /**
   * Takes a token from the key's bucket, or throws 429 with `Retry-After`; a refused attempt takes
   * none. A refused `claimant` who comes back when told is let in, although others have taken every
   * token meanwhile.
   */
  take(key: string, claimant?: string): void;
}

const MINUTE_MS = 60_000;
/** For the rounding of sums of fractions. */
const MARGIN_MS = 0.001;

/**
 * Token buckets of `perMinute` tokens that refill at that rate; 0 turns the throttle off. `now` is
 * a monotonic clock in milliseconds; `maxKeys` bounds the memory to some ten megabytes.
 */
export function createThrottle({
  perMinute,
  now = () => performance.now(),
  maxKeys = 100_000,
}: {
  perMinute: number;
  now?: () => number;
  maxKeys?: number;
}): Throttle {
  if (perMinute === 0) return { take() {} };
  const interval = MINUTE_MS / perMinute;
  /** When each bucket will be full (the generic cell rate algorithm). */
  const fullAt = new Map<string, number>();
  /** From when on a refused claimant is let in. */
  const promised = new Map<string, number>();
  return {
    take(key, claimant) {
      const instant = now();
      const bucket = key.length > 100 ? createHash("sha256").update(key).digest("base64") : key;
      const place = `${bucket} ${claimant}`;
      const full = Math.max(fullAt.get(bucket) ?? instant, instant) + interval;
      const wait = full - instant - MINUTE_MS;
      const due = promised.get(place) ?? Number.POSITIVE_INFINITY;
      if (wait <= MARGIN_MS) {
        if (!fullAt.has(bucket)) makeRoom(fullAt, instant, maxKeys);
        fullAt.set(bucket, full);
      }
      if (wait <= MARGIN_MS || due <= instant) {
        promised.delete(place);
        return;
      }
      const left = Math.min(wait, due - instant) - MARGIN_MS;
      const seconds = Math.max(1, Math.ceil(left / 1000));
      if (claimant !== undefined && !promised.has(place)) {
        // Those who did not come back within a minute are forgotten.
        makeRoom(promised, instant - MINUTE_MS, maxKeys);
        promised.set(place, instant + seconds * 1000);
      }
      throw new AppError("too_many_requests", "Too many requests. Please try again later.", {
        headers: { "Retry-After": String(seconds) },
      });
    },
  };
}

/**
 * When the map is full: forgets what was over by `instant` and, where that is not enough, the tenth
 * that is over first. Nobody resets an emptied bucket without emptying as many others.
 */
function makeRoom(until: Map<string, number>, instant: number, maxKeys: number): void {
  if (until.size < maxKeys) return;
  const byEnd = [...until].sort(([, a], [, b]) => a - b);
  const over = byEnd.filter(([, end]) => end <= instant).length;
  for (const [key] of byEnd.slice(0, Math.max(over, Math.ceil(maxKeys / 10)))) until.delete(key);
}
