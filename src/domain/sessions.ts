import { createHash, randomBytes } from "node:crypto";
import type { Database, Queryable } from "../data/database.ts";
import {
  findLiveSession,
  insertSession,
  revokeSessions,
  type Session,
  swapTokens,
} from "../data/sessions.ts";
import { findUser, findUserInSession, type User } from "../data/users.ts";
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

type Owner = Pick<User, "userId" | "roleId">;

/** A genuine refresh token of a live session of an active user. */
export interface PresentedToken {
  owner: Owner;
  session: Session;
  jti: string;
}

/** The tokens that a session knows after a refresh, and the id of the pending one, which is handed out. */
interface TokenState {
  currentTokenHash: string;
  pendingTokenHash: string;
  pendingIssuedAt: Date;
  pendingJti: string;
}

/** How long the token before the current one is still answered, in milliseconds. */
const LATE = 10_000;

/** A swap is lost only to a request that moved the session on: more than two in a row is a fault. */
const MAX_ATTEMPTS = 5;

interface Options {
  database: Database;
  jwt: Jwt;
  accessTtlSeconds: number;
  refreshTtlSeconds: number;
  now: () => Date;
}

export type Sessions = ReturnType<typeof createSessions>;

/** Logins and their tokens. All state is in the table `Sessions`. */
export function createSessions(options: Options) {
  const { database, jwt, refreshTtlSeconds, now } = options;

  async function getSession(sessionId: string, userId: number): Promise<Session> {
    const session = await findLiveSession(database, sessionId, userId, now());
    if (!session) throw badRefreshToken();
    return session;
  }

  return {
    /** Opens a session for a user who proved who they are. */
    async open(tx: Queryable, owner: Owner): Promise<Tokens> {
      const [sessionId, jti, createdAt] = [newId(), newId(), now()];
      const expiresAt = new Date((toSeconds(createdAt) + refreshTtlSeconds) * 1000);
      const session = { sessionId, userId: owner.userId, expiresAt };
      await insertSession(tx, { ...session, currentTokenHash: hashOf(jti), createdAt });
      return issue(options, owner, session, jti, createdAt);
    },

    /**
     * The user of an access token, and whether their session still lives. 401 for a bad token and for
     * an unknown user. The reference server's tokens have no session; they live until they expire.
     */
    async authenticate(token: string): Promise<{ user: User; isLive: boolean }> {
      const { sub, sid } = verify(jwt, token, "access", now());
      const user = await findUserInSession(database, Number(sub), sid ?? "");
      if (!user) throw badAccessToken();
      const { sessionEnd } = user;
      return { user, isLive: sid === undefined || (sessionEnd !== null && sessionEnd > now()) };
    },

    /**
     * What `rotate` takes. 401 for a bad refresh token, a token of another type, an unknown or inactive
     * user and an ended session.
     */
    async verifyRefresh(token: string): Promise<PresentedToken> {
      const { sub, sid, jti } = verify(jwt, token, "refresh", now());
      const user = await findUser(database, Number(sub));
      if (!user) throw new AppError("not_authenticated", "User not found");
      if (!user.isActive) throw new AppError("not_authenticated", "User is not active");
      return { owner: user, session: await getSession(sid, user.userId), jti };
    },

    /** New tokens for the current or the pending one; for any other the session ends, and 401. */
    async rotate({ owner, session, jti }: PresentedToken, actor: Actor): Promise<Tokens> {
      const { userId } = owner;
      const { sessionId } = session;
      let seen = session;
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        const at = now();
        const next = nextState(seen, jti, at);
        if (!next) {
          await database.transaction(async (tx) => {
            if ((await revokeSessions(tx, { sessionId }, "token_reuse", at)) === 0) return;
            const details = { session_id: sessionId };
            await record(tx, "token_reuse", { ...actor, userId }, userId, at, details);
          });
          throw badRefreshToken();
        }
        if (await swapTokens(database, seen, next, at))
          return issue(options, owner, session, next.pendingJti, next.pendingIssuedAt);
        seen = await getSession(sessionId, userId);
      }
      throw unavailable("The session");
    },

    /** Ends all sessions of a user. */
    revokeAll: (tx: Queryable, userId: number, reason: string): Promise<number> =>
      revokeSessions(tx, { userId }, reason, now()),
  };
}

/**
 * Acknowledged rotation: the state after a refresh, with the token to hand out. The current token gets
 * its successor, which is then pending, the same one as long as it is. The pending token becomes
 * current and gets a successor of its own; the token that was current before is answered as the new
 * one for a while. Undefined for any other token.
 */
function nextState(session: Session, jti: string, at: Date): TokenState | undefined {
  const { currentTokenHash, pendingTokenHash, pendingIssuedAt } = session;
  const presented = hashOf(jti);
  // Computed, not drawn: the same one is asked for again, and the database keeps hashes only. It needs
  // no secret, because a token is worth nothing without its signature.
  const successor = hashOf(`successor ${session.sessionId} ${jti}`).slice(0, 32);
  const isCurrent = presented === currentTokenHash;
  if (isCurrent || presented === pendingTokenHash) {
    const isPending = isCurrent && hashOf(successor) === pendingTokenHash;
    return {
      currentTokenHash: presented,
      pendingTokenHash: hashOf(successor),
      pendingJti: successor,
      pendingIssuedAt: isPending && pendingIssuedAt ? pendingIssuedAt : at,
    };
  }
  const isLate = pendingIssuedAt !== null && at.getTime() - pendingIssuedAt.getTime() < LATE;
  const isFormer = hashOf(successor) === currentTokenHash;
  return isLate && isFormer ? nextState(session, successor, at) : undefined;
}

/** Signs the two tokens. An access token ends no later than its session. */
function issue(
  { jwt, accessTtlSeconds, now }: Options,
  { userId, roleId }: Owner,
  { sessionId, expiresAt }: Pick<Session, "sessionId" | "expiresAt">,
  jti: string,
  issuedAt: Date,
): Tokens {
  const common = { sub: String(userId), sid: sessionId };
  const iat = toSeconds(now());
  const end = toSeconds(expiresAt);
  const exp = Math.min(iat + accessTtlSeconds, end);
  return {
    access_token: jwt.sign({ ...common, rid: roleId, type: "access", iat, exp }),
    refresh_token: jwt.sign({
      ...common,
      type: "refresh",
      iat: toSeconds(issuedAt),
      exp: end,
      jti,
    }),
    expires_in: exp - iat,
    session_id: sessionId,
  };
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
