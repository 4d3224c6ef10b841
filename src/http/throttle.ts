import { hash } from "node:crypto";
import { isIPv4, isIPv6, SocketAddress } from "node:net";
import { AppError } from "../errors.ts";

export type Throttle = ReturnType<typeof createThrottle>;

const MINUTE_MS = 60_000;
/** For the rounding of sums of fractions. */
const MARGIN_MS = 0.001;

/**
 * Token buckets of `perMinute` tokens that refill at that rate; 0 turns the throttle off. `now` is
 * a monotonic clock in milliseconds; `maxKeys` takes some ten megabytes.
 */
export function createThrottle(options: {
  perMinute: number;
  now?: () => number;
  maxKeys?: number;
}) {
  const { perMinute, now = () => performance.now(), maxKeys = 100_000 } = options;
  /** When each bucket will be full (the generic cell rate algorithm), by the hash of its key. */
  const fullAt = new Map<string, number>();
  return {
    /** Takes a token from the key's bucket, or throws 429 with `Retry-After` and takes none. */
    take(key: string): void {
      if (perMinute === 0) return;
      const instant = now();
      const bucket = hash("sha256", key, "base64");
      const full = Math.max(fullAt.get(bucket) ?? 0, instant) + MINUTE_MS / perMinute;
      const wait = full - instant - MINUTE_MS - MARGIN_MS;
      if (wait > 0) {
        const headers = { "Retry-After": String(Math.ceil(wait / 1000)) };
        const detail = "Too many requests. Please try again later.";
        throw new AppError("too_many_requests", detail, { headers });
      }
      if (fullAt.size >= maxKeys && !fullAt.has(bucket)) makeRoom(fullAt, instant);
      fullAt.set(bucket, full);
    },
  };
}

/**
 * Forgets the full buckets and at least the tenth that is full first. Nobody resets an emptied
 * bucket without emptying as many others.
 */
function makeRoom(fullAt: Map<string, number>, instant: number): void {
  const ends = Float64Array.from(fullAt.values()).sort();
  const limit = Math.max(instant, ends[Math.floor(ends.length / 10)] ?? instant);
  for (const [bucket, end] of fullAt) if (end <= limit) fullAt.delete(bucket);
}

/** Whom a throttle counts: an IPv4 address or the /64 of an IPv6 one, in one spelling. */
export function networkOf(address: string): string {
  if (!isIPv6(address)) return address;
  const zoneless = address.replace(/%.*/, "");
  const { address: short } = new SocketAddress({ address: zoneless, family: "ipv6" });
  const mapped = short.replace(/^::ffff:/, "");
  if (isIPv4(mapped)) return mapped;
  const missing = 8 - short.split(":").filter(Boolean).length;
  const whole = short.replace("::", `:${"0:".repeat(missing)}`);
  return whole.split(":").filter(Boolean).slice(0, 4).join(":");
}

/** Of one account. */
const NETWORKS = 8;

/** From where accounts signed in: the last networks of the last `maxAccounts`. */
export function createKnownNetworks(maxAccounts = 10_000) {
  const known = new Map<string, string[]>();
  return {
    has: (account: string, network: string) => known.get(account)?.includes(network) ?? false,

    add(account: string, network: string): void {
      const others = (known.get(account) ?? []).filter((other) => other !== network);
      known.delete(account);
      known.set(account, [network, ...others].slice(0, NETWORKS));
      const [oldest = ""] = known.keys();
      if (known.size > maxAccounts) known.delete(oldest);
    },
  };
}
