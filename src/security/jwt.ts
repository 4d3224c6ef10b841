import { isUtf8 } from "node:buffer";
import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from "node:crypto";
import { type Claims, ensure, InvalidToken, parseClaims } from "./claims.ts";

export { type Claims, InvalidToken };

/** Ours have some 350 characters. */
const MAX_TOKEN_LENGTH = 4096;
const MAX_KNOWN = 1_000;

const hmac = (key: KeyObject, text: string) => createHmac("sha256", key).update(text).digest();

function importKey(secret: string): { id: string; secret: KeyObject } {
  if (secret === "") throw new TypeError("a JWT secret must not be empty");
  const key = createSecretKey(secret, "utf8");
  // No token gives this away: their signed text has a dot.
  return { id: hmac(key, "nassaq-server/kid").toString("hex").slice(0, 16), secret: key };
}

const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** No padding, foreign characters or stray bits (RFC 4648 §3.5). */
function decode(segment: string): Buffer {
  const bytes = Buffer.from(segment, "base64url");
  ensure(bytes.toString("base64url") === segment, "malformed");
  return bytes;
}

function decodeObject(segment: string): Record<string, unknown> {
  const bytes = decode(segment);
  ensure(isUtf8(bytes), "malformed");
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString());
  } catch {
    throw new InvalidToken("malformed");
  }
  ensure(typeof value === "object" && value !== null && !Array.isArray(value), "malformed");
  return value as Record<string, unknown>;
}

export type Jwt = ReturnType<typeof createJwt>;

/**
 * Compact JWTs, HS256 only (RFC 7515, RFC 7519, RFC 8725). `previous` secrets only verify. A `kid`
 * picks the key; a token without one, as the reference system's, is tried with each.
 */
export function createJwt(options: { secret: string; previous: readonly string[] }) {
  const current = importKey(options.secret);
  const keys = [current, ...options.previous.map(importKey)];
  const ownHeader = encode({ alg: "HS256", typ: "JWT", kid: current.id });

  /** What tokens say that were found signed: a client sends its own again and again. */
  const known = new Map<string, Readonly<Record<string, unknown>>>();

  /** The keys that a header leaves to try. */
  function candidates(header: string): readonly { secret: KeyObject }[] {
    if (header === ownHeader) return [current];
    // RFC 7515 §4.1.11: no extension is implemented.
    const { alg, typ = "JWT", kid, ...others } = decodeObject(header);
    ensure(alg === "HS256" && typ === "JWT" && !("crit" in others), "header");
    const named = keys.filter(({ id }) => kid === undefined || kid === id);
    ensure(named.length > 0, "unknown_key");
    return named;
  }

  function signedPayload(token: string): Record<string, unknown> {
    ensure(token.length <= MAX_TOKEN_LENGTH, "too_long");
    const parts = token.split(".");
    ensure(parts.length === 3, "malformed");
    const [header, payload, signature] = parts as [string, string, string];
    const tried = candidates(header);
    const given = decode(signature);
    const input = token.slice(0, header.length + 1 + payload.length);
    const isSigned = tried.some(({ secret }) => {
      const expected = hmac(secret, input);
      return given.length === expected.length && timingSafeEqual(given, expected);
    });
    ensure(isSigned, "signature");
    return decodeObject(payload);
  }

  return {
    sign(claims: Claims): string {
      const input = `${ownHeader}.${encode(claims)}`;
      return `${input}.${hmac(current.secret, input).toString("base64url")}`;
    },

    /** The claims of a token that is valid at `now`. Throws `InvalidToken` alone. */
    verify(token: string, now: Date): Claims {
      const payload = known.get(token) ?? signedPayload(token);
      const claims = parseClaims(payload, now);
      if (known.size >= MAX_KNOWN) known.clear();
      known.set(token, payload);
      return claims;
    },
  };
}
