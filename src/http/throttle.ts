import { createHash } from "node:crypto";
import { AppError } from "../errors.ts";

export interface Throttle {
  /**
   * Takes a token from the key's bucket, or throws `too_many_requests` with `Retry-After`; a refused attempt takes none. A refused
   * `claimant` who comes back when told is let in, although others have taken every token meanwhile.
   */
  take(key: string, claimant?: string): void;
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
  /** From when on a refused claimant is let in. */
  const promised = new Map<string, number>();

  function refuse(place: string | undefined, wait: number, instant: number): void {
    const due = place === undefined ? undefined : promised.get(place);
    if (place !== undefined && due !== undefined && due <= instant) {
      promised.delete(place);
      return;
    }
    const seconds = Math.max(
      1,
      Math.ceil((Math.min(wait, (due ?? Number.POSITIVE_INFINITY) - instant) - 0.001) / 1000),
    );
    if (place !== undefined && due === undefined) {
      if (promised.size >= maxKeys) forgetPromises(promised, instant);
      if (promised.size < maxKeys) promised.set(place, instant + seconds * 1000);
    }
    throw tooMany(seconds);
  }

  return {
    take(key, claimant) {
      const instant = now();
      const bucket = key.length > 100 ? createHash("sha256").update(key).digest("base64") : key;
      const next = Math.max(fullAt.get(bucket) ?? instant, instant) + interval;
      const wait = next - instant - 60_000;
      const place = claimant === undefined ? undefined : `${bucket} ${claimant}`;
      // The margin is for the rounding of sums of fractions.
      if (wait > 0.001) return refuse(place, wait, instant);
      if (place !== undefined) promised.delete(place);
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
  const leastMissing = [...fullAt]
    .sort(([, a], [, b]) => a - b)
    .slice(0, fullAt.size - (maxKeys - spare));
  for (const [key] of leastMissing) fullAt.delete(key);
}

/** Forgets the promises of those who did not come back within a minute. */
function forgetPromises(promised: Map<string, number>, instant: number): void {
  for (const [place, due] of promised) {
    if (due + 60_000 < instant) promised.delete(place);
  }
}

function tooMany(retryAfterSeconds: number): AppError {
  return new AppError("too_many_requests", "Too many requests. Please try again later.", {
    headers: { "Retry-After": String(retryAfterSeconds) },
  });
}
