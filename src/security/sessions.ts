import { createHash, randomBytes } from "node:crypto";
import type { Database, Queryable } from "../data/database.ts";
import {
  findSession,
  insertSession,
  revokeSession,
  revokeSessionsOfUser,
  type Session,
  swapTokens,
  type TokenHashes,
} from "../data/sessions.ts";
import { AppError, unavailable } from "../errors.ts";
import type { AccessClaims, RefreshClaims } from "./claims.ts";
import { InvalidToken, type Jwt } from "./jwt.ts";

/** What a login or a refresh hands out; `expires_in` is the access token's life in seconds (RFC 6749 §5.1). */
export interface Tokens {
  access_token: string;
  refresh_token: string;
  expires_in: number;
  session_id: string;
}

export interface SessionUser {
  userId: number;
  roleId: number | null;
}

/** What `refresh` needs of its caller. */
export interface RefreshHooks {
  findUser(
    q: Queryable,
    userId: number,
  ): Promise<(SessionUser & { isActive: boolean }) | undefined>;
  /** Called once a session, in the transaction that revokes it: the place of the audit row. */
  onReuse(tx: Queryable, userId: number, sessionId: string): Promise<void>;
}

/** How long the same successor is given again, in milliseconds: for parallel tabs and lost answers. */
const REISSUE_WINDOW = 10_000;

/** A swap is lost only to another request that moved the same session on: more than two in a row is a fault. */
const MAX_ATTEMPTS = 5;

interface Successor {
  jti: string;
  issuedAt: Date;
}

/** The state to move a session to and the refresh token that goes with it. */
interface Step extends TokenHashes {
  successor: Successor;
}

function newId(): string {
  return randomBytes(16).toString("hex");
}

function hashOf(jti: string): string {
  return createHash("sha256").update(jti).digest("hex");
}

function toSeconds(instant: Date): number {
  return Math.floor(instant.getTime() / 1000);
}

function refused(cause?: unknown): AppError {
  return new AppError("not_authenticated", "Invalid refresh token", { cause });
}

export type Sessions = ReturnType<typeof createSessions>;

/** Logins and their tokens, with acknowledged rotation of refresh tokens. All state is in the table `Sessions`. */
export function createSessions(options: {
  jwt: Jwt;
  accessTtlSeconds: number;
  refreshTtlSeconds: number;
  now: () => Date;
}) {
  const { jwt, accessTtlSeconds, refreshTtlSeconds, now } = options;

  /** An access token ends no later than its session. */
  function issue(
    user: SessionUser,
    session: Pick<Session, "sessionId" | "expiresAt">,
    refresh: Successor,
    at: Date,
  ): Tokens {
    const sub = String(user.userId);
    const sid = session.sessionId;
    const iat = toSeconds(at);
    const end = toSeconds(session.expiresAt);
    const exp = Math.min(iat + accessTtlSeconds, end);
    return {
      access_token: jwt.sign({ sub, rid: user.roleId, type: "access", iat, exp, sid }),
      refresh_token: jwt.sign({
        sub,
        type: "refresh",
        iat: toSeconds(refresh.issuedAt),
        exp: end,
        sid,
        jti: refresh.jti,
      }),
      expires_in: exp - iat,
      session_id: sid,
    };
  }

  /** The token that follows `jti`. Computed, not drawn: the database keeps hashes only, and the same one may be asked for again. */
  function successorOf(session: Session, jti: string, issuedAt: Date): Successor {
    const text = `${session.sessionId} ${jti} ${toSeconds(issuedAt)}`;
    return { jti: jwt.derive("session-successor", text).toString("hex", 0, 16), issuedAt };
  }

  /** Where the presented token takes the session; undefined when it is neither the current nor the pending one. */
  function nextStep(session: Session, jti: string, at: Date): Step | undefined {
    const presented = hashOf(jti);
    const isCurrent = presented === session.currentTokenHash;
    if (!isCurrent && presented !== session.pendingTokenHash) return undefined;
    const before = session.pendingIssuedAt;
    // The absolute value, because another process's clock may be a little ahead.
    const again =
      isCurrent && before !== null && Math.abs(at.getTime() - before.getTime()) < REISSUE_WINDOW;
    const successor = successorOf(session, jti, again ? before : at);
    return {
      currentTokenHash: presented,
      pendingTokenHash: hashOf(successor.jti),
      pendingIssuedAt: successor.issuedAt,
      successor,
    };
  }

  function verifyRefresh(token: string): RefreshClaims {
    try {
      const claims = jwt.verify(token, now());
      if (claims.type !== "refresh") throw new InvalidToken("type");
      return claims;
    } catch (error) {
      if (!(error instanceof InvalidToken)) throw error;
      if (error.reason !== "type") throw refused(error);
      throw new AppError("not_authenticated", "Invalid token type. Refresh token required.", {
        cause: error,
      });
    }
  }

  return {
    /** Opens a session for a user who proved who they are. */
    async open(tx: Queryable, user: SessionUser): Promise<Tokens> {
      const createdAt = now();
      const expiresAt = new Date((toSeconds(createdAt) + refreshTtlSeconds) * 1000);
      const sessionId = newId();
      const jti = newId();
      await insertSession(tx, {
        sessionId,
        userId: user.userId,
        currentTokenHash: hashOf(jti),
        createdAt,
        expiresAt,
      });
      return issue(user, { sessionId, expiresAt }, { jti, issuedAt: createdAt }, createdAt);
    },

    /**
     * New tokens for a current or pending refresh token. Throws 401 for a bad token, a token of another type, an unknown or
     * inactive user and an ended session. Any other token of a live session revokes it.
     */
    async refresh(database: Database, token: string, hooks: RefreshHooks): Promise<Tokens> {
      const claims = verifyRefresh(token);
      const userId = Number(claims.sub);
      const user = await hooks.findUser(database, userId);
      if (!user) throw new AppError("not_authenticated", "User not found");
      if (!user.isActive) throw new AppError("not_authenticated", "User is not active");

      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
        const at = now();
        const session = await findSession(database, claims.sid);
        const isLive = session?.userId === userId && !session.revokedAt && session.expiresAt > at;
        if (!isLive) throw refused();
        const step = nextStep(session, claims.jti, at);
        if (step === undefined) {
          await database.transaction(async (tx) => {
            const revoked = await revokeSession(tx, session.sessionId, "token_reuse", at);
            if (revoked) await hooks.onReuse(tx, userId, session.sessionId);
          });
          throw refused();
        }
        if (await swapTokens(database, session, step, at)) {
          return issue(user, session, step.successor, at);
        }
      }
      throw unavailable("The session");
    },

    /** The claims of an access token; `InvalidToken` for any other. Whether its session still lives is the caller's to ask. */
    verifyAccess(token: string): AccessClaims {
      const claims = jwt.verify(token, now());
      if (claims.type !== "access") throw new InvalidToken("type");
      return claims;
    },

    /** Ends one session; false when it is absent or had ended. */
    revoke: (tx: Queryable, sessionId: string, reason: string): Promise<boolean> =>
      revokeSession(tx, sessionId, reason, now()),

    /** Ends the sessions of a user but `exceptSessionId`; returns how many. */
    revokeAll: (
      tx: Queryable,
      userId: number,
      reason: string,
      exceptSessionId?: string,
    ): Promise<number> => revokeSessionsOfUser(tx, userId, reason, now(), exceptSessionId),
  };
}
