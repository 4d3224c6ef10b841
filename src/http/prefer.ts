import type { IncomingHttpHeaders } from "node:http";

/** Preferences, split at commas outside of quotes. */
const PREFERENCES = /(?:[^,"]|"(?:[^"\\]|\\.?)*(?:"|$))+/g;
const WAIT = /^\s*wait\s*(?:$|[=;])/i;
const SECONDS = /^[^=]*=\s*(?:(\d+)|"(\d+)")\s*(?:$|;)/;

/**
 * The seconds of `Prefer: wait=N`, at most `max` (RFC 7240 §4.3). The first one counts (§2).
 * Undefined when there is none, when it is malformed, and for 0.
 */
export function preferredWait({ prefer }: IncomingHttpHeaders, max: number): number | undefined {
  const wait = String(prefer ?? "")
    .match(PREFERENCES)
    ?.find((preference) => WAIT.test(preference));
  const [, bare, quoted] = SECONDS.exec(wait ?? "") ?? [];
  return Math.min(Number(bare ?? quoted ?? 0), max) || undefined;
}
