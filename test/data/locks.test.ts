import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { openSqlServer } from "../../src/data/sqlserver.ts";
import { countUsers } from "../../src/data/users.ts";
import { ADMIN, startTestApp, USER } from "../support/app.ts";
import { testServer } from "../support/sqlserver.ts";
import { openStandInDatabase } from "../support/tds/database.ts";
import { type Session, startStandIn } from "../support/tds/server.ts";

// Without these locks only a real SQL Server goes wrong, so what is sent is looked at.

test("a migration waits for the lock of migrations before it looks, and gives up without it", async (t) => {
  const texts: string[] = [];
  const refusal = {
    result: { columns: [{ name: "result", type: "bigint" as const }], rows: [[-1]] },
  };
  const session: Session = {
    call({ text }) {
      if (text !== "SELECT 1;") texts.push(text);
      return refusal;
    },
    transaction(step) {
      texts.push(step);
      return {};
    },
    end() {},
  };
  const standIn = await startStandIn({ open: () => session });
  t.after(() => standIn.close());
  const database = await openSqlServer({
    ...testServer("nassaq"),
    server: "127.0.0.1",
    port: standIn.port,
    instance: undefined,
    encrypt: false,
  });
  t.after(() => database.close());
  await assert.rejects(database.migrate(), { name: "AppError", code: "unavailable" });
  const [begin, lock = "", ...rest] = texts;
  assert.deepEqual([begin, rest], ["begin", ["rollback"]]);
  assert.match(lock, /sp_getapplock .*@LockMode = N'Exclusive',\s+@LockOwner = N'Transaction'/);
});

test("the admins that are left are counted only after a write that locks them", async (t) => {
  const { env, statements, remove } = await openStandInDatabase();
  const engine = { name: "a stand-in", open: async () => ({ env, remove }) };
  const app = await startTestApp({}, engine);
  t.after(() => app.close());
  const changes = [
    ["PATCH", { role_id: USER }],
    ["PATCH", { is_active: false }],
    ["DELETE", undefined],
  ] as const;
  for (const [method, json] of changes) {
    const { id } = await app.person({ roleId: ADMIN });
    await app.as("admin");
    statements.clear();
    const answer = await app.call(method, `/api/v1/users/${id}`, { as: "admin", json });
    assert.ok(answer.status < 300, `${method}: ${answer.status}`);
    const sent = [...statements];
    const lock = sent.findIndex((text) => /^UPDATE Roles SET role_name = role_name/.test(text));
    const count = sent.findIndex((text) =>
      /COUNT\(\*\).* FROM Users u\s+WHERE .*u\.role_id/s.test(text),
    );
    assert.ok(lock >= 0 && lock < count, sent.join("\n"));
  }
});

test("an admin is left when three updates interleave: promote X, demote the last one, deactivate X", async (t) => {
  const reading = Promise.withResolvers<void>();
  const others = Promise.withResolvers<void>();
  let heldUser: number | undefined;
  /** Holds the answer to the first transaction that reads `heldUser`, as a slow network would, but not for ever. */
  function slowed(session: Session): Session {
    let isInTransaction = false;
    return {
      ...session,
      async call(call) {
        const answer = await session.call(call);
        const isIt = Object.values(call.params).some(({ cell }) => cell === heldUser);
        if (isInTransaction && isIt && /^SELECT.* FROM Users u\s/s.test(call.text)) {
          heldUser = undefined;
          reading.resolve();
          await Promise.race([others.promise, delay(1_000)]);
        }
        return answer;
      },
      transaction(step) {
        isInTransaction = step === "begin";
        return session.transaction(step);
      },
    };
  }
  const { env, remove } = await openStandInDatabase(slowed);
  const app = await startTestApp({}, { name: "a stand-in", open: async () => ({ env, remove }) });
  t.after(() => app.close());
  const admins = () => countUsers(app.app.database, { roleId: ADMIN, isActive: true });
  const last = await app.person({ roleId: ADMIN });
  const x = await app.person();
  const update = (id: number, json: object) =>
    app.call("PATCH", `/api/v1/users/${id}`, { as: last, json });
  assert.equal(await admins(), 1);

  heldUser = x.id;
  const deactivation = update(x.id, { is_active: false });
  await reading.promise;
  await update(x.id, { role_id: ADMIN });
  await update(last.id, { role_id: USER });
  others.resolve();
  await deactivation;
  assert.equal(await admins(), 1);
});
