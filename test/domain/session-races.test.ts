import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { Database } from "../../src/data/database.ts";
import { openSqlite } from "../../src/data/sqlite.ts";
import type { Tokens } from "../../src/domain/sessions.ts";
import { AppError } from "../../src/errors.ts";
import { createJwt } from "../../src/security/jwt.ts";
import {
  inMemory,
  invalid,
  LATE,
  payload,
  REFRESH,
  SECRET,
  START,
  setUp,
} from "./session-support.ts";

/** `database`, but `before` runs once, before its next UPDATE. */
function interrupted(database: Database, before: () => Promise<unknown>): Database {
  let done = false;
  return {
    ...database,
    run: async (sql, params) => {
      if (!done && sql.startsWith("UPDATE")) {
        done = true;
        await before();
      }
      return database.run(sql, params);
    },
  };
}

describe("races and restarts", () => {
  test("tabs that refresh at once with the current token get the same successor", async (t) => {
    const { open, sessions, reuses } = await inMemory(t);
    const first = await open();
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => sessions.refresh(first.refresh_token)),
    );
    assert.equal(new Set(answers.map((tokens) => tokens.refresh_token)).size, 1);
    assert.deepEqual(await reuses(), []);
  });

  test("tabs that refresh at once with the pending token get the same successor", async (t) => {
    const { open, sessions, reuses } = await inMemory(t);
    const second = await sessions.refresh((await open()).refresh_token);
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => sessions.refresh(second.refresh_token)),
    );
    assert.equal(new Set(answers.map((tokens) => tokens.refresh_token)).size, 1);
    assert.notEqual(answers[0]?.refresh_token, second.refresh_token);
    assert.deepEqual(await reuses(), []);
  });

  test("a token that is replayed twice at once is one theft", async (t) => {
    const { open, sessions, clock, reuses } = await inMemory(t);
    const first = await open();
    await sessions.refresh((await sessions.refresh(first.refresh_token)).refresh_token);
    clock.time += LATE;
    const replay = () => assert.rejects(sessions.refresh(first.refresh_token), invalid);
    await Promise.all([replay(), replay(), replay()]);
    assert.deepEqual(await reuses(), [first.session_id]);
  });

  test("two processes on one database agree", async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "sessions-"));
    const file = join(folder, "test.db");
    const databases = [openSqlite({ file }), openSqlite({ file })] as const;
    t.after(async () => {
      for (const database of databases) await database.close();
      await rm(folder, { recursive: true });
    });
    const { open, process, reuses } = await setUp(databases[0]);
    const processes = databases.map((database) => process(database));
    let token = (await open()).refresh_token;
    for (let round = 0; round < 10; round += 1) {
      const answers = await Promise.all(
        [...processes, ...processes].map((sessions) => sessions.refresh(token)),
      );
      const tokens = new Set(answers.map((answer) => answer.refresh_token));
      assert.equal(tokens.size, 1);
      token = answers[0]?.refresh_token as string;
    }
    assert.deepEqual(await reuses(), []);
  });

  test("a process whose clock is a little behind answers a late tab as well", async (t) => {
    const { open, sessions, clock } = await inMemory(t);
    const first = await open();
    clock.time += 5000;
    const second = await sessions.refresh(first.refresh_token);
    const third = await sessions.refresh(second.refresh_token);
    clock.time -= 2000;
    assert.equal((await sessions.refresh(first.refresh_token)).refresh_token, third.refresh_token);
  });

  test("after a restart the same successor comes again, and it is taken", async (t) => {
    const { open, process, clock } = await inMemory(t);
    const first = await open();
    const second = await process().refresh(first.refresh_token);
    clock.time += 3000;
    assert.equal(
      (await process().refresh(first.refresh_token)).refresh_token,
      second.refresh_token,
    );
    const third = await process().refresh(second.refresh_token);
    clock.time += 3000;
    assert.equal(
      (await process().refresh(second.refresh_token)).refresh_token,
      third.refresh_token,
    );
  });

  test("a restart with another secret keeps the sessions, and what is pending in them", async (t) => {
    const { open, process, sessions, reuses } = await inMemory(t);
    const first = await open();
    const second = await sessions.refresh(first.refresh_token);
    const rotated = process(
      undefined,
      createJwt({ secret: "the newer secret", previous: [SECRET] }),
    );
    const again = await rotated.refresh(first.refresh_token);
    assert.deepEqual(payload(again.refresh_token), payload(second.refresh_token));
    // Whichever of the two a tab has kept.
    const third = await rotated.refresh(second.refresh_token);
    const same = await rotated.refresh(again.refresh_token);
    assert.equal(same.refresh_token, third.refresh_token);
    await rotated.refresh(third.refresh_token);
    assert.deepEqual(await reuses(), []);
  });

  test("one who reads, then is overtaken by the same refresh, gives the overtaker's answer", async (t) => {
    const { database, open, process, sessions, clock } = await inMemory(t);
    const first = await open();
    let overtaker: Tokens | undefined;
    const slow = process(
      interrupted(database, async () => {
        clock.time += 1500;
        overtaker = await sessions.refresh(first.refresh_token);
      }),
    );
    const answer = await slow.refresh(first.refresh_token);
    assert.equal(answer.refresh_token, overtaker?.refresh_token);
  });

  test("one who is overtaken by two promotions holds an old token: the session is revoked", async (t) => {
    const { database, open, process, sessions, reuses } = await inMemory(t);
    const first = await open();
    const slow = process(
      interrupted(database, async () => {
        const second = await sessions.refresh(first.refresh_token);
        const third = await sessions.refresh(second.refresh_token);
        await sessions.refresh(third.refresh_token);
      }),
    );
    await assert.rejects(slow.refresh(first.refresh_token), invalid);
    assert.deepEqual(await reuses(), [first.session_id]);
  });

  test("one who is overtaken by a logout gets nothing", async (t) => {
    const { database, open, process, sessions, row, user } = await inMemory(t);
    const first = await open();
    const slow = process(
      interrupted(database, () => sessions.revokeAll(database, user.userId, "logout")),
    );
    await assert.rejects(slow.refresh(first.refresh_token), invalid);
    const session = await row(first);
    assert.deepEqual([session.revokedReason, session.pendingTokenHash], ["logout", null]);
  });

  test("one who keeps losing is told to come back", async (t) => {
    const { database, open, process } = await inMemory(t);
    const first = await open();
    const busy = process({ ...database, run: async () => 0 });
    await assert.rejects(busy.refresh(first.refresh_token), (error: unknown) => {
      return error instanceof AppError && error.code === "unavailable";
    });
  });
});

type Move = { kind: "refresh"; age: number } | { kind: "wait"; ms: number } | { kind: "restart" };

test("any sequence of refreshes, waits and restarts agrees with the rules", async (t) => {
  const { database, open, process, clock, reuses, row } = await inMemory(t);
  const move: fc.Arbitrary<Move> = fc.oneof(
    // Tokens by age, 0 the newest: mostly those that a client would still use.
    {
      arbitrary: fc.record({
        kind: fc.constant("refresh" as const),
        age: fc.oneof({ arbitrary: fc.nat(1), weight: 5 }, fc.nat(6)),
      }),
      weight: 5,
    },
    {
      arbitrary: fc.record({
        kind: fc.constant("wait" as const),
        ms: fc.oneof(fc.nat(11_000), fc.nat(REFRESH * 300)),
      }),
      weight: 2,
    },
    { arbitrary: fc.record({ kind: fc.constant("restart" as const) }), weight: 1 },
  );

  const run = async (moves: Move[]) => {
    clock.time = START;
    await database.run("DELETE FROM Logs");
    let sessions = process();
    const login = await open();
    const issued = [login.refresh_token];
    const model = {
      former: undefined as string | undefined,
      current: login.refresh_token,
      pending: undefined as string | undefined,
      promoted: 0,
      revoked: false,
      end: Number(payload(login.refresh_token).exp) * 1000,
    };
    /** What the rules say the token gets: undefined is a refusal, "new" a token that nobody has seen. */
    const expected = (token: string): string | undefined => {
      if (model.revoked || clock.time >= model.end) return undefined;
      if (token === model.pending) {
        Object.assign(model, { former: model.current, current: token, promoted: clock.time });
        return "new";
      }
      if (token === model.current) return model.pending ?? "new";
      if (token === model.former && clock.time - model.promoted < LATE) return model.pending;
      model.revoked = true;
      return undefined;
    };
    for (const step of moves) {
      if (step.kind === "wait") clock.time += step.ms;
      else if (step.kind === "restart") sessions = process();
      else {
        const token = issued[Math.max(0, issued.length - 1 - step.age)] as string;
        const answer = expected(token);
        if (answer === undefined) {
          await assert.rejects(sessions.refresh(token), invalid);
          continue;
        }
        const { refresh_token } = await sessions.refresh(token);
        if (answer === "new") {
          assert.ok(!issued.includes(refresh_token));
          issued.push(refresh_token);
          model.pending = refresh_token;
        } else assert.equal(refresh_token, answer);
      }
    }
    assert.equal((await row(login)).revokedAt !== null, model.revoked);
    assert.equal((await reuses()).length, model.revoked ? 1 : 0);
  };
  await fc.assert(fc.asyncProperty(fc.array(move, { maxLength: 25 }), run), { numRuns: 150 });
});
