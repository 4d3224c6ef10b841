import { createHash, randomBytes } from "node:crypto";
import type { Queryable } from "../data/database.ts";
import {
  findSession,
  insertSession,
  revokeSessions,
  type Session,
  swapTokens,
} from "../data/sessions.ts";
import { findUser, type User } from "../data/users.ts";
import { AppError, unavailable } from "../errors.ts";
import { type Claims, InvalidToken, type Jwt } from "../security/jwt.ts";
import type { Actor, Audit } from "./audit.ts";
import { badAccessToken, type Caller, type Core } from "./authority.ts";

/** `expires_in` is the access token's life in seconds (RFC 6749 §5.1). */
export interface Tokens {
  access_token: string;
  refresh_token: string;
  expires_in: number;
  session_id: string;
}

/** A genuine refresh token of a live session of an active user. */
interface PresentedToken {
  user: User;
  session: Session;
  jti: string;
}

/** Milliseconds for which the token before the current one is still answered. */
const LATE = 10_000;

/** Each lost swap means that another request moved the session on. */
const MAX_ATTEMPTS = 5;

type Owner = Pick<User, "userId" | "roleId">;

interface Keys {
  jwt: Jwt;
  accessTtlSeconds: number;
  refreshTtlSeconds: number;
}

export type Sessions = ReturnType<typeof createSessions>;

export function createSessions({ database, audit, now }: Core, keys: Keys) {
  const { jwt, accessTtlSeconds, refreshTtlSeconds } = keys;

  /** Signs the two tokens. An access token ends no later than its session. */
  function issue(
    { sessionId: sid, expiresAt }: Pick<Session, "sessionId" | "expiresAt">,
    { userId, roleId: rid }: Owner,
    { jti, issuedAt }: { jti: string; issuedAt: Date },
  ): Tokens {
    const [sub, iat, end] = [String(userId), toSeconds(now()), toSeconds(expiresAt)];
    const exp = Math.min(iat + accessTtlSeconds, end);
    const refresh = { sub, iat: toSeconds(issuedAt), exp: end, sid, jti };
    return {
      access_token: jwt.sign({ sub, rid, type: "access", iat, exp, sid }),
      refresh_token: jwt.sign({ ...refresh, type: "refresh" }),
      expires_in: exp - iat,
      session_id: sid,
    };
  }

  async function getLive(sessionId: string, userId: number): Promise<Session> {
    const session = await findSession(database, sessionId, userId);
    if (!session || session.expiresAt <= now()) throw badRefreshToken();
    return session;
  }

  return {
    /** Opens a session for a user who proved who they are. */
    async open(tx: Queryable, user: Owner): Promise<Tokens> {
      const [sessionId, jti, createdAt] = [newId(), newId(), now()];
      const expiresAt = new Date((toSeconds(createdAt) + refreshTtlSeconds) * 1000);
      const session = { sessionId, userId: user.userId, expiresAt };
      await insertSession(tx, { ...session, currentTokenHash: hashOf(jti), createdAt });
      return issue(session, user, { jti, issuedAt: createdAt });
    },

    /** Whose an access token is. 401 for a bad one. */
    verifyAccess(token: string): { userId: number; sessionId: string | null } {
      const { sub, sid = null } = verify(jwt, token, "access", now());
      return { userId: Number(sub), sessionId: sid };
    },

    /** 401 for a bad token or another type's, an unknown or inactive user, an ended session. */
    async verifyRefresh(token: string): Promise<PresentedToken> {
      const { sub, sid, jti } = verify(jwt, token, "refresh", now());
      const user = await findUser(database, Number(sub));
      if (!user) throw new AppError("not_authenticated", "User not found");
      if (!user.isActive) throw new AppError("not_authenticated", "User is not active");
      return { user, session: await getLive(sid, user.userId), jti };
    },

    /** New tokens for the current or the pending one; for any other the session ends, and 401. */
    async rotate({ user, session, jti }: PresentedToken, actor: Actor): Promise<Tokens> {
      const { sessionId } = session;
      let seen = session;
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        const at = now();
        const current = currentAfter(seen, jti, at);
        if (!current) {
          await database.transaction((tx) => endStolen(tx, audit, session, actor, at));
          throw badRefreshToken();
        }
        const { pendingIssuedAt } = current;
        const pending = { jti: successorOf(sessionId, current.jti), issuedAt: pendingIssuedAt };
        const [currentTokenHash, pendingTokenHash] = [hashOf(current.jti), hashOf(pending.jti)];
        const next = { currentTokenHash, pendingTokenHash, pendingIssuedAt };
        if (await swapTokens(database, seen, next, at)) return issue(session, user, pending);
        seen = await getLive(sessionId, user.userId);
      }
      throw unavailable("The session");
    },

    /** Ends all sessions of a user, or all but one. */
    revokeAll(tx: Queryable, userId: number, reason: string, except: string | null = null) {
      const others = except === null ? {} : { exceptSessionId: except };
      return revokeSessions(tx, { userId, ...others }, reason, now());
    },
  };
}

export type Logout = ReturnType<typeof createLogout>;

/** Ends the caller's session. A token of the reference system has none. */
export function createLogout({ authority, audit, now }: Core) {
  return (caller: Caller): Promise<void> =>
    authority.act(caller, "user", async (tx) => {
      const { userId, sessionId } = caller;
      if (sessionId !== null) await revokeSessions(tx, { sessionId }, "logout", now());
      await audit.record(tx, "logout", caller, userId, { session_id: sessionId });
    });
}

/**
 * Acknowledged rotation: which token is current after a refresh, and since when its successor is
 * pending. The current one stays; the pending one becomes current; the one before the current one
 * is answered for a while. Undefined for any other token.
 */
function currentAfter(session: Session, jti: string, at: Date) {
  const { currentTokenHash, pendingTokenHash, pendingIssuedAt } = session;
  const stays = { pendingIssuedAt: pendingIssuedAt ?? at };
  if (hashOf(jti) === currentTokenHash) return { jti, ...stays };
  if (hashOf(jti) === pendingTokenHash) return { jti, pendingIssuedAt: at };
  const successor = successorOf(session.sessionId, jti);
  const isLate = at.getTime() - stays.pendingIssuedAt.getTime() < LATE;
  return isLate && hashOf(successor) === currentTokenHash
    ? { jti: successor, ...stays }
    : undefined;
}

/** Once in the audit trail, however many replays come at once. */
async function endStolen(
  tx: Queryable,
  audit: Audit,
  session: Session,
  actor: Actor,
  at: Date,
): Promise<void> {
  const { sessionId, userId } = session;
  if ((await revokeSessions(tx, { sessionId }, "token_reuse", at)) === 0) return;
  const details = { session_id: sessionId };
  await audit.record(tx, "token_reuse", { ...actor, userId }, userId, details);
}

/**
 * The id of the token that follows. Computed, not drawn: the same one is asked for again, and the
 * database has only hashes. It needs no secret, as tokens are signed.
 */
function successorOf(sessionId: string, jti: string): string {
  return hashOf(`successor ${sessionId} ${jti}`).slice(0, 32);
}

/** The claims of a token of this type, or 401. */
function verify<Type extends Claims["type"]>(jwt: Jwt, token: string, type: Type, at: Date) {
  try {
    const claims = jwt.verify(token, at);
    if (claims.type !== type) throw new InvalidToken("type");
    return claims as Extract<Claims, { type: Type }>;
  } catch (error) {
    if (!(error instanceof InvalidToken)) throw error;
    if (type === "access") throw badAccessToken(error);
    if (error.reason !== "type") throw badRefreshToken(error);
    const detail = "Invalid token type. Refresh token required.";
    throw new AppError("not_authenticated", detail, { cause: error });
  }
}

const badRefreshToken = (cause?: unknown) =>
  new AppError("not_authenticated", "Invalid refresh token", { cause });

const newId = () => randomBytes(16).toString("hex");
const hashOf = (text: string) => createHash("sha256").update(text).digest("hex");
const toSeconds = (instant: Date) => Math.floor(instant.getTime() / 1000);
