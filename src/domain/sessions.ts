import { createHash, randomBytes } from "node:crypto";
import type { Database, Queryable } from "../data/database.ts";
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
import { type Actor, record } from "./audit.ts";

/** Of a login or a refresh; `expires_in` is the access token's life in seconds (RFC 6749 §5.1). */
export interface Tokens {
  access_token: string;
  refresh_token: string;
  expires_in: number;
  session_id: string;
}

/** A genuine refresh token of a live session of an active user. */
export interface PresentedToken {
  roleId: number | null;
  session: Session;
  jti: string;
}

/** How long the token before the current one is still answered, in milliseconds. */
const LATE = 10_000;

/** A swap is lost only to a request that moved the session on: this often in a row is a fault. */
const MAX_ATTEMPTS = 5;

interface Parts {
  database: Database;
  jwt: Jwt;
  accessTtlSeconds: number;
  refreshTtlSeconds: number;
  now: () => Date;
}

export type Sessions = ReturnType<typeof createSessions>;

/** Logins and their tokens. All state is in the table `Sessions`. */
export function createSessions({ database, jwt, accessTtlSeconds, refreshTtlSeconds, now }: Parts) {
  /** Signs the two tokens. An access token ends no later than its session. */
  function issue(
    { sessionId: sid, userId, expiresAt }: Pick<Session, "sessionId" | "userId" | "expiresAt">,
    rid: number | null,
    refresh: { jti: string; issuedAt: Date },
  ): Tokens {
    const [sub, iat, end] = [String(userId), toSeconds(now()), toSeconds(expiresAt)];
    const exp = Math.min(iat + accessTtlSeconds, end);
    const { jti, issuedAt } = refresh;
    const longer = { iat: toSeconds(issuedAt), exp: end };
    return {
      access_token: jwt.sign({ sub, rid, type: "access", iat, exp, sid }),
      refresh_token: jwt.sign({ sub, type: "refresh", ...longer, sid, jti }),
      expires_in: exp - iat,
      session_id: sid,
    };
  }

  return {
    /** Opens a session for a user who proved who they are. */
    async open(tx: Queryable, { userId, roleId }: Pick<User, "userId" | "roleId">) {
      const [sessionId, jti, createdAt] = [newId(), newId(), now()];
      const expiresAt = new Date((toSeconds(createdAt) + refreshTtlSeconds) * 1000);
      const session = { sessionId, userId, expiresAt };
      await insertSession(tx, { ...session, currentTokenHash: hashOf(jti), createdAt });
      return issue(session, roleId, { jti, issuedAt: createdAt });
    },

    /**
     * The user of an access token, and whether their session still lives. 401 for a bad token and
     * an unknown user. The reference server's tokens have no session and live until they expire.
     */
    async authenticate(token: string): Promise<{ user: User; isLive: boolean }> {
      const { sub, sid } = verify(jwt, token, "access", now());
      const user = await findUser(database, Number(sub));
      if (!user) throw badAccessToken();
      if (sid === undefined) return { user, isLive: true };
      return { user, isLive: (await findSession(database, sid, user.userId, now())) !== undefined };
    },

    /** 401 for a bad token or another type's, an unknown or inactive user, an ended session. */
    async verifyRefresh(token: string): Promise<PresentedToken> {
      const { sub, sid, jti } = verify(jwt, token, "refresh", now());
      const user = await findUser(database, Number(sub));
      if (!user) throw new AppError("not_authenticated", "User not found");
      if (!user.isActive) throw new AppError("not_authenticated", "User is not active");
      return {
        roleId: user.roleId,
        session: await getSession(database, sid, user.userId, now()),
        jti,
      };
    },

    /** New tokens for the current or the pending one; for any other the session ends, and 401. */
    async rotate({ roleId, session, jti }: PresentedToken, actor: Actor): Promise<Tokens> {
      const { sessionId } = session;
      let seen = session;
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        const at = now();
        const current = currentAfter(seen, jti, at);
        if (!current) {
          await database.transaction((tx) => endStolen(tx, session, actor, at));
          throw badRefreshToken();
        }
        const { pendingIssuedAt } = current;
        const pending = { jti: successorOf(sessionId, current.jti), issuedAt: pendingIssuedAt };
        const [currentTokenHash, pendingTokenHash] = [hashOf(current.jti), hashOf(pending.jti)];
        const next = { currentTokenHash, pendingTokenHash, pendingIssuedAt };
        if (await swapTokens(database, seen, next, at)) return issue(session, roleId, pending);
        seen = await getSession(database, sessionId, session.userId, now());
      }
      throw unavailable("The session");
    },

    /** Ends all sessions of a user. */
    revokeAll: (tx: Queryable, userId: number, reason: string): Promise<number> =>
      revokeSessions(tx, { userId }, reason, now()),
  };
}

/**
 * Acknowledged rotation: which token is current after a refresh, and since when its successor is
 * pending. The current one stays, with the same successor. The pending one becomes current. The one
 * before the current one is answered for a while, as that is. Undefined for any other token.
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

async function getSession(...key: Parameters<typeof findSession>): Promise<Session> {
  const session = await findSession(...key);
  if (!session) throw badRefreshToken();
  return session;
}

/** Once in the audit trail, however many replays come at once. */
async function endStolen(tx: Queryable, session: Session, actor: Actor, at: Date): Promise<void> {
  const { sessionId, userId } = session;
  if ((await revokeSessions(tx, { sessionId }, "token_reuse", at)) === 0) return;
  const details = { session_id: sessionId };
  await record(tx, "token_reuse", { ...actor, userId }, userId, at, details);
}

/**
 * The id of the token that follows. Computed, not drawn: the same one is asked for again, and the
 * database keeps hashes only. It needs no secret: a token is worth nothing without its signature.
 */
function successorOf(sessionId: string, jti: string): string {
  return hashOf(`successor ${sessionId} ${jti}`).slice(0, 32);
}

/** The claims of a token of this type; the 401 of that type for any other. */
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

export const badAccessToken = (cause?: unknown) =>
  new AppError("not_authenticated", "Could not validate credentials", { cause });
const badRefreshToken = (cause?: unknown) =>
  new AppError("not_authenticated", "Invalid refresh token", { cause });

const newId = () => randomBytes(16).toString("hex");
const hashOf = (text: string) => createHash("sha256").update(text).digest("hex");
const toSeconds = (instant: Date) => Math.floor(instant.getTime() / 1000);
