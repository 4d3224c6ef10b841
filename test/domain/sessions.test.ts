import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { deleteExpired } from "../../src/data/sessions.ts";
import { insertUser, updateUser } from "../../src/data/users.ts";
import type { Tokens } from "../../src/domain/sessions.ts";
import { createJwt } from "../../src/security/jwt.ts";
import {
  ACCESS,
  inMemory,
  invalid,
  LATE,
  payload,
  REFRESH,
  refusal,
  START,
} from "./session-support.ts";

describe("a login", () => {
  test("hands out an access and a refresh token of one session", async (t) => {
    const { open, sessions, user, row } = await inMemory(t);
    const tokens = await open();
    const iat = Math.floor(START / 1000);
    const sid = tokens.session_id;
    assert.match(sid, /^[0-9a-f]{32}$/);
    assert.equal(tokens.expires_in, ACCESS);
    assert.deepEqual(payload(tokens.access_token), {
      sub: String(user.userId),
      rid: 99,
      type: "access",
      iat,
      exp: iat + ACCESS,
      sid,
    });
    const { jti, ...refresh } = payload(tokens.refresh_token);
    assert.deepEqual(refresh, {
      sub: String(user.userId),
      type: "refresh",
      iat,
      exp: iat + REFRESH,
      sid,
    });
    assert.match(String(jti), /^[0-9a-f]{32}$/);
    assert.deepEqual(sessions.verifyAccess(tokens.access_token), {
      userId: user.userId,
      sessionId: sid,
    });
    assert.equal(await sessions.isLive(tokens.access_token), true);
    assert.equal((await row(tokens)).expiresAt.getTime(), (iat + REFRESH) * 1000);
  });

  test("keeps no token and no token id in the database", async (t) => {
    const { database, open } = await inMemory(t);
    const tokens = await open();
    const text = JSON.stringify(await database.all("SELECT * FROM Sessions"));
    assert.ok(!text.includes(String(payload(tokens.refresh_token).jti)));
    assert.ok(!text.includes(tokens.refresh_token.split(".")[2] as string));
  });

  test("opens a session of its own each time", async (t) => {
    const { open } = await inMemory(t);
    const [one, two] = [await open(), await open()];
    assert.notEqual(one.session_id, two.session_id);
    assert.notEqual(payload(one.refresh_token).jti, payload(two.refresh_token).jti);
  });

  test("that is rolled back opens nothing", async (t) => {
    const { database, sessions, user } = await inMemory(t);
    let tokens: Tokens | undefined;
    const attempt = database.transaction(async (tx) => {
      tokens = await sessions.open(tx, user);
      throw new RangeError("changed my mind");
    });
    await assert.rejects(attempt, RangeError);
    assert.ok(tokens);
    await assert.rejects(sessions.refresh(tokens.refresh_token), invalid);
  });
});

describe("acknowledged rotation", () => {
  test("the current token gets a successor, the same one as long as that is pending", async (t) => {
    const { open, sessions, clock, row } = await inMemory(t);
    const first = await open();
    clock.time += 1000;
    const second = await sessions.refresh(first.refresh_token);
    assert.notEqual(second.refresh_token, first.refresh_token);
    assert.equal(second.session_id, first.session_id);
    for (const later of [9_999, 1, 3600_000, 86_400_000]) {
      clock.time += later;
      const again = await sessions.refresh(first.refresh_token);
      assert.equal(again.refresh_token, second.refresh_token);
      assert.equal((await row(first)).lastUsedAt.getTime(), clock.time);
    }
  });

  test("the token before the current one is answered for ten seconds, as the current one is", async (t) => {
    const { open, sessions, clock, reuses } = await inMemory(t);
    const first = await open();
    const second = await sessions.refresh(first.refresh_token);
    clock.time += 86_400_000;
    const third = await sessions.refresh(second.refresh_token);
    for (const late of [0, 4000, 5999]) {
      clock.time += late;
      for (const tab of [first, second]) {
        const { refresh_token } = await sessions.refresh(tab.refresh_token);
        assert.equal(refresh_token, third.refresh_token);
      }
    }
    clock.time += 1;
    await assert.rejects(sessions.refresh(first.refresh_token), invalid);
    assert.deepEqual(await reuses(), [first.session_id]);
  });

  test("the token before that one ends the session, however fast the promotions were", async (t) => {
    const { open, sessions, reuses } = await inMemory(t);
    const first = await open();
    const second = await sessions.refresh(first.refresh_token);
    const third = await sessions.refresh(second.refresh_token);
    await sessions.refresh(third.refresh_token);
    await sessions.refresh(second.refresh_token);
    await assert.rejects(sessions.refresh(first.refresh_token), invalid);
    assert.equal((await reuses()).length, 1);
  });

  test("the pending token becomes current and gets a successor of its own", async (t) => {
    const { open, sessions, clock, row } = await inMemory(t);
    let { refresh_token } = await open();
    const seen = new Set([refresh_token]);
    for (let round = 0; round < 5; round += 1) {
      clock.time += 500;
      const tokens = await sessions.refresh(refresh_token);
      assert.ok(!seen.has(tokens.refresh_token));
      seen.add(tokens.refresh_token);
      refresh_token = tokens.refresh_token;
      assert.equal((await row(tokens)).revokedAt, null);
    }
  });

  test("a client that never uses a successor goes on until the session ends", async (t) => {
    const { open, sessions, clock, row } = await inMemory(t);
    const first = await open();
    const end = (await row(first)).expiresAt.getTime();
    for (; clock.time < end; clock.time += 6 * 3600 * 1000) {
      const tokens = await sessions.refresh(first.refresh_token);
      assert.equal(tokens.session_id, first.session_id);
    }
    await assert.rejects(sessions.refresh(first.refresh_token), invalid);
  });

  test("a replaced token revokes the session, once in the audit trail, and nothing of it works any more", async (t) => {
    const { open, sessions, clock, reuses, row } = await inMemory(t);
    const first = await open();
    const second = await sessions.refresh(first.refresh_token);
    const third = await sessions.refresh(second.refresh_token);
    clock.time += LATE;

    await assert.rejects(sessions.refresh(first.refresh_token), invalid);
    const { revokedAt, revokedReason } = await row(first);
    assert.deepEqual([revokedAt?.getTime(), revokedReason], [clock.time, "token_reuse"]);
    assert.equal(await sessions.isLive(third.access_token), false);
    for (const tokens of [first, second, third]) {
      await assert.rejects(sessions.refresh(tokens.refresh_token), invalid);
    }
    assert.deepEqual(await reuses(), [first.session_id]);
  });

  test("other sessions of the user survive the theft of one", async (t) => {
    const { open, sessions, clock } = await inMemory(t);
    const [stolen, other] = [await open(), await open()];
    await sessions.refresh((await sessions.refresh(stolen.refresh_token)).refresh_token);
    clock.time += LATE;
    await assert.rejects(sessions.refresh(stolen.refresh_token), invalid);
    assert.equal((await sessions.refresh(other.refresh_token)).session_id, other.session_id);
  });

  test("when the audit row can't be written the session is not revoked half", async (t) => {
    const { database, open, process, sessions, row, clock } = await inMemory(t);
    const first = await open();
    await sessions.refresh((await sessions.refresh(first.refresh_token)).refresh_token);
    clock.time += LATE;
    const full = process({
      ...database,
      transaction: (work) =>
        database.transaction((tx) =>
          work({
            ...tx,
            async defer(sql, params) {
              if (sql.includes("INTO Logs")) throw new RangeError("no space");
              return tx.defer(sql, params);
            },
          }),
        ),
    });
    await assert.rejects(full.refresh(first.refresh_token), RangeError);
    assert.equal((await row(first)).revokedAt, null);
    await assert.rejects(sessions.refresh(first.refresh_token), invalid);
    assert.equal((await row(first)).revokedReason, "token_reuse");
  });

  test("the life of a session is counted from its login, however often it is rotated", async (t) => {
    const { open, sessions, clock, row } = await inMemory(t);
    const first = await open();
    const end = (await row(first)).expiresAt.getTime();
    let token = first.refresh_token;
    for (const time of [START + 3600_000, end - 90_000, end - 30_000, end - 1]) {
      clock.time = time;
      const tokens = await sessions.refresh(token);
      assert.equal(payload(tokens.refresh_token).exp, end / 1000);
      assert.ok(Number(payload(tokens.access_token).exp) <= end / 1000);
      const { iat, exp } = payload(tokens.access_token);
      assert.equal(tokens.expires_in, Number(exp) - Number(iat));
      assert.ok(tokens.expires_in > 0);
      token = tokens.refresh_token;
    }
    clock.time = end;
    await assert.rejects(sessions.refresh(token), invalid);
  });

  test("a session that was cut short in the database ends then, whatever its tokens say", async (t) => {
    const { database, open, sessions, clock } = await inMemory(t);
    const { refresh_token } = await open();
    await database.run("UPDATE Sessions SET expires_at = @at", { at: new Date(START + 5000) });
    clock.time += 4000;
    const tokens = await sessions.refresh(refresh_token);
    assert.ok(tokens.expires_in <= 1);
    clock.time += 1000;
    await assert.rejects(sessions.refresh(refresh_token), invalid);
  });
});

const wrongType = refusal("not_authenticated", "Invalid token type. Refresh token required.");

describe("what refresh refuses, and in which order", () => {
  test("bad tokens, those of the reference server among them", async (t) => {
    const { open, sessions, jwt, user } = await inMemory(t);
    const { refresh_token, session_id } = await open();
    const iat = Math.floor(START / 1000);
    const claims = { sub: String(user.userId), type: "refresh" as const, iat, exp: iat + 60 };
    const jti = "0".repeat(32);
    const bad = [
      "",
      "x",
      `${refresh_token}x`,
      createJwt({ secret: "another", previous: [] }).sign({ ...claims, sid: session_id, jti }),
      jwt.sign({ ...claims, sid: session_id, jti, exp: iat }),
      // No session of that id; no session at all.
      jwt.sign({ ...claims, sid: jti, jti }),
      jwt.sign(claims as never),
    ];
    for (const token of bad) await assert.rejects(sessions.refresh(token), invalid);
    assert.equal((await sessions.refresh(refresh_token)).session_id, session_id);
  });

  test("an access token is of the wrong type, while it is valid", async (t) => {
    const { open, sessions, clock } = await inMemory(t);
    const { access_token } = await open();
    await assert.rejects(sessions.refresh(access_token), wrongType);
    clock.time += ACCESS * 1000;
    await assert.rejects(sessions.refresh(access_token), invalid);
  });

  test("a refresh token is no access token, and nor is that of another server", async (t) => {
    const { open, sessions } = await inMemory(t);
    const { refresh_token, access_token } = await open();
    const refused = refusal("not_authenticated", "Could not validate credentials");
    for (const token of [refresh_token, `${access_token}x`, ""])
      assert.throws(() => sessions.verifyAccess(token), refused);
  });

  test("the session of one user is of no use to another", async (t) => {
    const { database, open, sessions, jwt, reuses } = await inMemory(t);
    const mine = await open();
    const thief = await insertUser(database, {
      fullName: "Someone Else",
      email: "else@example.com",
      username: "else",
      passwordHash: "-",
      createdAt: new Date(START),
      isActive: true,
      roleId: null,
    });
    const { jti } = payload(mine.refresh_token);
    const iat = Math.floor(START / 1000);
    const mixed = jwt.sign({
      sub: String(thief),
      type: "refresh",
      iat,
      exp: iat + 60,
      sid: mine.session_id,
      jti: String(jti),
    });
    await assert.rejects(sessions.refresh(mixed), invalid);
    assert.deepEqual(await reuses(), []);
  });

  test("a user who is gone or inactive is told so, whatever became of the session", async (t) => {
    const { database, open, sessions, user, clock } = await inMemory(t);
    const { refresh_token, session_id } = await open();
    await updateUser(database, user.userId, { is_active: false });
    await sessions.revokeAll(database, user.userId, "deactivated");
    const inactive = refusal("not_authenticated", "User is not active");
    await assert.rejects(sessions.refresh(refresh_token), inactive);
    await updateUser(database, user.userId, { is_active: true });
    await assert.rejects(sessions.refresh(refresh_token), invalid);

    await database.run("DELETE FROM Sessions WHERE session_id = @session_id", { session_id });
    await database.run("DELETE FROM Users WHERE user_id = @userId", { userId: user.userId });
    await assert.rejects(
      sessions.refresh(refresh_token),
      refusal("not_authenticated", "User not found"),
    );
    clock.time += REFRESH * 1000;
    await assert.rejects(sessions.refresh(refresh_token), invalid);
  });

  test("the role of the moment goes into the new access token", async (t) => {
    const { database, open, sessions, user } = await inMemory(t);
    const first = await open();
    await updateUser(database, user.userId, { role_id: null });
    const { access_token } = await sessions.refresh(first.refresh_token);
    assert.equal(payload(access_token).rid, null);
  });
});

describe("ending sessions", () => {
  test("revoking all ends every live session of the user", async (t) => {
    const { database, open, sessions, row, user } = await inMemory(t);
    const [one, two] = [await open(), await open()];
    assert.equal(await sessions.revokeAll(database, user.userId + 1, "deactivated"), 0);
    assert.ok(await sessions.refresh(one.refresh_token));
    assert.equal(await sessions.revokeAll(database, user.userId, "deactivated"), 2);
    assert.equal(await sessions.revokeAll(database, user.userId, "again"), 0);
    assert.equal((await row(one)).revokedReason, "deactivated");
    for (const { refresh_token } of [one, two])
      await assert.rejects(sessions.refresh(refresh_token), invalid);
    assert.equal(await sessions.isLive(two.access_token), false);
  });

  test("the sweeper removes what has expired and nothing else", async (t) => {
    const { database, open, sessions, clock, row } = await inMemory(t);
    const old = await open();
    clock.time += 3600_000;
    const young = await open();
    const end = (await row(old)).expiresAt;
    assert.equal(await deleteExpired(database, "Sessions", end), 0);
    assert.equal(await deleteExpired(database, "Sessions", new Date(end.getTime() + 1)), 1);
    await assert.rejects(sessions.refresh(old.refresh_token), invalid);
    assert.ok(await sessions.refresh(young.refresh_token));
  });
});
