import assert from "node:assert/strict";
import { test } from "node:test";
import { openSqlite } from "../../src/data/sqlite.ts";
import { insertUser } from "../../src/data/users.ts";
import { SYSTEM } from "../../src/domain/audit.ts";
import { createLogin } from "../../src/domain/login.ts";
import { createPasswords } from "../../src/security/passwords.ts";
import { coreOf } from "../support/core.ts";
import { watchPasswordJobs } from "../support/password-threads.ts";
import { refusal, setUp } from "./session-support.ts";

const unauthenticated = refusal("not_authenticated", "Incorrect email or password");

test("every login costs one comparison at the full cost, whoever is asked for", async (t) => {
  const costs: string[] = [];
  const stop = watchPasswordJobs((job) => {
    if (job.kind === "compare") costs.push(job.hash.slice(0, 7));
  });
  const passwords = createPasswords({ cost: 5, threads: 1 });
  const database = openSqlite({ file: ":memory:" });
  t.after(async () => {
    stop();
    await passwords.close();
    await database.close();
  });
  const { sessions } = await setUp(database);
  const passwordHash = await passwords.hash("passw0rd!");
  for (const [name, isActive] of [
    ["active", true],
    ["inactive", false],
  ] as const) {
    await insertUser(database, {
      fullName: "Salma Haddad",
      email: `${name}@example.com`,
      username: name,
      passwordHash,
      createdAt: new Date(),
      isActive,
      roleId: null,
    });
  }
  const login = createLogin(coreOf(database), passwords, sessions);
  const attempts: [address: string, secret: string, refused?: (error: unknown) => boolean][] = [
    ["nobody@example.com", "passw0rd!", unauthenticated],
    ["no address at all", "passw0rd!", unauthenticated],
    ["active@example.com", "wrong", unauthenticated],
    ["active@example.com", "é".repeat(100), unauthenticated],
    ["inactive@example.com", "wrong", unauthenticated],
    ["inactive@example.com", "passw0rd!", refusal("forbidden", "User is not active")],
    // A row whose hash is no hash.
    ["amina@example.com", "-", unauthenticated],
    ["active@example.com", "passw0rd!"],
  ];
  for (const [address, secret, refused] of attempts) {
    costs.length = 0;
    const answer = login(address, secret, SYSTEM);
    if (refused) await assert.rejects(answer, refused);
    else assert.match((await answer).access_token, /^eyJ/);
    assert.deepEqual(costs, ["$2b$05$"], `${address} ${secret}`);
  }
});
