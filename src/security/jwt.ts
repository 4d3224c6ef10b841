import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from "node:crypto";
import { type Claims, InvalidToken, parseClaims } from "./claims.ts";

export { type Claims, InvalidToken };

/** Signs and checks compact JWTs, HS256 only (RFC 7515, RFC 7519, RFC 8725). */
export interface Jwt {
  /** A token signed with the current key. */
  sign(claims: Claims): string;
  /** The claims of a token signed with the current or a previous key. Throws `InvalidToken`, nothing else. */
  verify(token: string, now: Date): Claims;
}

interface Key {
  id: string;
  secret: KeyObject;
}

/** Characters. Ours have some 350; a longer one is not parsed at all. */
const MAX_TOKEN_LENGTH = 4096;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function hmac(key: KeyObject | Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}

function importKey(secret: Buffer | string): Key {
  if (secret.length === 0) throw new TypeError("a JWT secret must not be empty");
  const key = createSecretKey(typeof secret === "string" ? Buffer.from(secret, "utf8") : secret);
  // What is signed always has a dot in it: the id can't be had by getting something signed.
  return { id: hmac(key, "nassaq-server/kid").toString("hex").slice(0, 16), secret: key };
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value), "utf8").toString("base64url");
}

/** Strict base64url: what does not encode back to itself had padding, foreign characters or stray bits (RFC 4648 §3.5). */
function decode(segment: string): Buffer {
  const bytes = Buffer.from(segment, "base64url");
  if (bytes.toString("base64url") !== segment) throw new InvalidToken("malformed");
  return bytes;
}

function decodeObject(segment: string): Record<string, unknown> {
  const bytes = decode(segment);
  let value: unknown;
  try {
    value = JSON.parse(utf8.decode(bytes));
  } catch {
    throw new InvalidToken("malformed");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new InvalidToken("malformed");
  return value as Record<string, unknown>;
}

/** Any `crit` is refused: no extension is implemented here (RFC 7515 §4.1.11). */
function checkHeader(header: Readonly<Record<string, unknown>>): void {
  const otherType = "typ" in header && header.typ !== "JWT";
  if (header.alg !== "HS256" || otherType || "crit" in header) throw new InvalidToken("header");
}

/**
 * `previous` secrets verify only, so that a secret can be replaced without logging everybody out. A `kid` picks the key; a token
 * without one, as the reference system mints them, is tried with each.
 */
export function createJwt(options: { secret: Buffer | string; previous: readonly string[] }): Jwt {
  const current = importKey(options.secret);
  const keys = [current, ...options.previous.map(importKey)];

  function keysFor(id: unknown): Key[] {
    if (id === undefined) return keys;
    const named = keys.filter((key) => key.id === id);
    if (named.length === 0) throw new InvalidToken("unknown_key");
    return named;
  }

  return {
    sign(claims) {
      const input = `${encode({ alg: "HS256", typ: "JWT", kid: current.id })}.${encode(claims)}`;
      return `${input}.${hmac(current.secret, input).toString("base64url")}`;
    },

    verify(token, now) {
      if (token.length > MAX_TOKEN_LENGTH) throw new InvalidToken("too_long");
      const [headerPart, payloadPart, signaturePart, ...rest] = token.split(".");
      if (
        headerPart === undefined ||
        payloadPart === undefined ||
        signaturePart === undefined ||
        rest.length > 0
      ) {
        throw new InvalidToken("malformed");
      }
      const header = decodeObject(headerPart);
      checkHeader(header);
      const signature = decode(signaturePart);
      const isSignedWith = (key: Key) => {
        const expected = hmac(key.secret, `${headerPart}.${payloadPart}`);
        return signature.length === expected.length && timingSafeEqual(signature, expected);
      };
      if (!keysFor(header.kid).some(isSignedWith)) throw new InvalidToken("signature");
      return parseClaims(decodeObject(payloadPart), now);
    },
  };
}
