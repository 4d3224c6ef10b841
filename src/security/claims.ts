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

/** `sub` is the user id in decimal; `iat` and `exp` are seconds since 1970. Tokens of the reference system have no `sid`. */
export interface AccessClaims {
  sub: string;
  /** The role when the token was made; clients read it, the server asks the database. */
  rid: number | null;
  type: "access";
  iat: number;
  exp: number;
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

function numericDate(value: unknown): number {
  if (typeof value !== "number" || !Number.isFinite(value)) throw new InvalidToken("claims");
  return value;
}

function hexId(value: unknown): string {
  if (typeof value !== "string" || !/^[0-9a-f]{32}$/.test(value)) throw new InvalidToken("claims");
  return value;
}

function subject(value: unknown): string {
  if (
    typeof value !== "string" ||
    !/^[1-9][0-9]{0,9}$/.test(value) ||
    Number(value) > MAX_USER_ID
  ) {
    throw new InvalidToken("claims");
  }
  return value;
}

function roleId(value: unknown): number | null {
  if (value === undefined || value === null) return null;
  if (!Number.isSafeInteger(value)) throw new InvalidToken("claims");
  return value as number;
}

/** The claims of a payload whose signature is proven. Throws `InvalidToken` (RFC 7519 §4.1.4–4.1.6, RFC 8725 §3.11). */
export function parseClaims(payload: Readonly<Record<string, unknown>>, now: Date): Claims {
  const seconds = now.getTime() / 1000;
  const exp = numericDate(payload.exp);
  const iat = numericDate(payload.iat);
  const notBefore = payload.nbf === undefined ? iat : numericDate(payload.nbf);
  if (exp <= seconds) throw new InvalidToken("expired");
  if (Math.max(iat, notBefore) > seconds + MAX_SKEW) throw new InvalidToken("not_yet_valid");

  const sub = subject(payload.sub);
  switch (payload.type) {
    case "access": {
      const session = payload.sid === undefined ? {} : { sid: hexId(payload.sid) };
      return { sub, rid: roleId(payload.rid), type: "access", iat, exp, ...session };
    }
    case "refresh":
      return { sub, type: "refresh", iat, exp, sid: hexId(payload.sid), jti: hexId(payload.jti) };
    default:
      throw new InvalidToken("type");
  }
}
