/** Why a token was refused: for logs and tests, never for the wire. */
export type Refusal =
  | "too_long"
  | "malformed"
  | "header"
  | "unknown_key"
  | "signature"
  | "claims"
  | "expired"
  | "not_yet_valid"
  | "type";

/** A token that must not be believed. Callers answer 401 and do not tell `reason`. */
export class InvalidToken extends Error {
  override readonly name = "InvalidToken";
  readonly reason: Refusal;

  constructor(reason: Refusal) {
    super(`invalid token: ${reason}`);
    this.reason = reason;
  }
}

/** Throws `InvalidToken` unless `condition` holds. */
export function ensure(condition: boolean, reason: Refusal): asserts condition {
  if (!condition) throw new InvalidToken(reason);
}

/** `sub` is the user id in decimal; `iat` and `exp` are seconds since 1970. */
export interface AccessClaims {
  sub: string;
  /** The role when the token was made; clients read it, the server asks the database. */
  rid: number | null;
  type: "access";
  iat: number;
  exp: number;
  /** Tokens of the reference system have none. */
  sid?: string;
}

export interface RefreshClaims {
  sub: string;
  type: "refresh";
  iat: number;
  exp: number;
  sid: string;
  jti: string;
}

export type Claims = AccessClaims | RefreshClaims;

/** How far another server's clock may be ahead of ours, in seconds. */
const MAX_SKEW = 60;

/** `user_id` is an SQL INT; nothing larger may reach a statement. */
const MAX_USER_ID = 2_147_483_647;

const isTime = (value: unknown): value is number => Number.isFinite(value);
const isId = (value: unknown): value is string =>
  typeof value === "string" && /^[0-9a-f]{32}$/.test(value);
const isUserId = (value: unknown): value is string =>
  typeof value === "string" && /^[1-9]\d{0,9}$/.test(value) && Number(value) <= MAX_USER_ID;
const isRole = (value: unknown): value is number | null =>
  value === null || Number.isSafeInteger(value);

/**
 * The claims of a payload whose signature is proven; others than these are left out. Throws
 * `InvalidToken` (RFC 7519 §4.1.4–4.1.6, RFC 8725 §3.11).
 */
export function parseClaims(payload: Readonly<Record<string, unknown>>, now: Date): Claims {
  const { sub, rid = null, type, iat, exp, nbf = iat, sid, jti } = payload;
  const seconds = now.getTime() / 1000;
  ensure(isTime(exp) && isTime(iat) && isTime(nbf), "claims");
  ensure(exp > seconds, "expired");
  ensure(Math.max(iat, nbf) <= seconds + MAX_SKEW, "not_yet_valid");
  ensure(type === "access" || type === "refresh", "type");
  ensure(isUserId(sub), "claims");
  if (type === "refresh") {
    ensure(isId(sid) && isId(jti), "claims");
    return { sub, type, iat, exp, sid, jti };
  }
  ensure(isRole(rid) && (sid === undefined || isId(sid)), "claims");
  return { sub, rid, type, iat, exp, ...(sid === undefined ? {} : { sid }) };
}
