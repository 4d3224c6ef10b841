/** Why a token was refused; never for the wire. */
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

export class InvalidToken extends Error {
  override readonly name = "InvalidToken";
  readonly reason: Refusal;

  constructor(reason: Refusal) {
    super(`invalid token: ${reason}`);
    this.reason = reason;
  }
}

export function ensure(condition: boolean, reason: Refusal): asserts condition {
  if (!condition) throw new InvalidToken(reason);
}

/** `sub` is a user id; `iat` and `exp` are seconds since 1970. */
export interface AccessClaims {
  sub: string;
  /** For clients. The server asks the database. */
  rid: number | null;
  type: "access";
  iat: number;
  exp: number;
  /** Missing in tokens of the reference system. */
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

/** Seconds that another server's clock may be ahead. */
const MAX_SKEW = 60;
/** SQL's INT. */
const MAX_USER_ID = 2_147_483_647;

const isTime = (value: unknown): value is number => Number.isFinite(value);
const isId = (value: unknown): value is string =>
  typeof value === "string" && /^[0-9a-f]{32}$/.test(value);
const isRole = (value: unknown): value is number | null =>
  value === null || Number.isSafeInteger(value);

/** The known claims of a payload, or `InvalidToken` (RFC 7519 §4.1, RFC 8725 §3.11). */
export function parseClaims(payload: Readonly<Record<string, unknown>>, now: Date): Claims {
  const { sub, rid = null, type, iat, exp, nbf = iat, sid, jti } = payload;
  const seconds = now.getTime() / 1000;
  ensure(isTime(exp) && isTime(iat) && isTime(nbf), "claims");
  ensure(exp > seconds, "expired");
  ensure(Math.max(iat, nbf) <= seconds + MAX_SKEW, "not_yet_valid");
  ensure(type === "access" || type === "refresh", "type");
  ensure(typeof sub === "string" && /^[1-9]\d{0,9}$/.test(sub), "claims");
  ensure(Number(sub) <= MAX_USER_ID, "claims");
  if (type === "refresh") {
    ensure(isId(sid) && isId(jti), "claims");
    return { sub, type, iat, exp, sid, jti };
  }
  ensure(isRole(rid) && (sid === undefined || isId(sid)), "claims");
  return { sub, rid, type, iat, exp, ...(sid === undefined ? {} : { sid }) };
}
