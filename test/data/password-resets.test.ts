import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { loadConfig } from "../../src/config.ts";
import { UniqueViolation } from "../../src/data/database.ts";
import {
  findPasswordReset,
  insertPasswordReset,
  usePasswordReset,
} from "../../src/data/password-resets.ts";
import { deleteExpired } from "../../src/data/sessions.ts";
import { deleteUser, insertUser } from "../../src/data/users.ts";
import { openDatabase } from "../../src/parts.ts";
import { ENGINES, type Engine } from "../support/engines.ts";
import { silent } from "../support/sqlserver.ts";

const START = new Date("2026-02-26T14:30:00.000Z");
const at = (minutes: number) => new Date(START.getTime() + minutes * 60_000);
const HASHES = ["a", "b", "c"].map((digit) => digit.repeat(64)) as [string, string, string];

/** A migrated database with two users, and what issues a reset that lives for an hour. */
async function setUp(t: TestContext, engine: Engine) {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-resets-"));
  const { env, remove } = await engine.open();
  const config = loadConfig({ ENVIRONMENT: "test", DATA_DIR: folder, ...env });
  const database = await openDatabase(config, silent);
  t.after(async () => {
    await database.close();
    await remove();
    await rm(folder, { recursive: true });
  });
  await database.migrate();
  const person = (username: string) =>
    insertUser(database, {
      fullName: username,
      email: `${username}@example.com`,
      username,
      passwordHash: "-",
      createdAt: START,
      isActive: true,
      roleId: null,
    });
  const issue = (userId: number, tokenHash: string, minutes = 0) =>
    insertPasswordReset(database, {
      userId,
      tokenHash,
      createdAt: at(minutes),
      expiresAt: at(minutes + 60),
    });
  const users = [await person("amina"), await person("salma")] as const;
  return { database, users, issue };
}

for (const engine of ENGINES) {
  describe(`Password resets on ${engine.name}`, () => {
    test("are found by their token's hash until they expire", async (t) => {
      const { database, users, issue } = await setUp(t, engine);
      const resetId = await issue(users[0], HASHES[0]);
      const reset = {
        resetId,
        userId: users[0],
        tokenHash: HASHES[0],
        createdAt: START,
        expiresAt: at(60),
      };
      assert.deepEqual(
        structuredClone(await findPasswordReset(database, HASHES[0], at(59))),
        reset,
      );
      assert.equal(await findPasswordReset(database, HASHES[0], at(60)), undefined);
      assert.equal(await findPasswordReset(database, HASHES[1], START), undefined);
      assert.equal(await usePasswordReset(database, resetId, at(60)), false);
      await assert.rejects(issue(users[1], HASHES[0]), UniqueViolation);
    });

    test("are used once, whoever tries at the same time", async (t) => {
      const { database, users, issue } = await setUp(t, engine);
      const resetId = await issue(users[0], HASHES[0]);
      const tries = Array.from({ length: 5 }, () =>
        database.transaction((tx) => usePasswordReset(tx, resetId, at(1))),
      );
      assert.equal((await Promise.all(tries)).filter(Boolean).length, 1);
      assert.equal(await findPasswordReset(database, HASHES[0], at(1)), undefined);
    });

    test("end with the user's next one, and nobody else's", async (t) => {
      const { database, users, issue } = await setUp(t, engine);
      const first = await issue(users[0], HASHES[0]);
      const others = await issue(users[1], HASHES[1]);
      const second = await issue(users[0], HASHES[2], 1);
      assert.equal(await findPasswordReset(database, HASHES[0], at(2)), undefined);
      assert.equal(await usePasswordReset(database, first, at(2)), false);
      assert.equal((await findPasswordReset(database, HASHES[1], at(2)))?.resetId, others);
      assert.equal(await usePasswordReset(database, second, at(2)), true);
      assert.equal(await usePasswordReset(database, first, at(3)), false, "it came to life again");
    });

    test("are removed when they have expired, and with their user", async (t) => {
      const { database, users, issue } = await setUp(t, engine);
      const used = await issue(users[0], HASHES[0]);
      await usePasswordReset(database, used, at(1));
      await issue(users[0], HASHES[1], 30);
      assert.equal(await deleteExpired(database, "Password_Resets", at(60)), 0);
      assert.equal(await deleteExpired(database, "Password_Resets", at(61)), 1);
      await issue(users[1], HASHES[2], 30);
      await deleteUser(database, users[0]);
      const left = await database.all("SELECT user_id AS userId FROM Password_Resets");
      assert.deepEqual(left, [{ userId: users[1] }]);
    });
  });
}
