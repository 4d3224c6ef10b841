import assert from "node:assert/strict";
import { once } from "node:events";
import type { TestContext } from "node:test";
import { ForeignKeyViolation, type Queryable } from "../../src/data/database.ts";
import { revokeSessions } from "../../src/data/sessions.ts";
import { deleteUser, findUser, updateUser } from "../../src/data/users.ts";
import {
  apiSuite,
  type CallOptions,
  PASSWORD,
  type Person,
  type TestApp,
  trailSealed,
} from "../support/app.ts";
import { type Answer, multipartBody } from "../support/client.ts";

const BAD_TOKEN = "Could not validate credentials";
const INACTIVE = "Your account is not active. Please contact an administrator.";
const NO_ADMIN = "You are not authorized to perform this action.";

/** What may befall a caller, and what they are told from then on. */
const EVENTS = {
  demoted: {
    befall: (database: Queryable, { id }: Person) => updateUser(database, id, { role_id: 1 }),
    told: [403, NO_ADMIN],
  },
  deactivated: {
    befall: (database: Queryable, { id }: Person) => updateUser(database, id, { is_active: false }),
    told: [403, INACTIVE],
  },
  "logged out": {
    befall: (database: Queryable, { id }: Person) =>
      revokeSessions(database, { userId: id }, "test", new Date()),
    told: [401, BAD_TOKEN],
  },
  deleted: {
    befall: (database: Queryable, { id }: Person) => deleteUser(database, id),
    told: [401, BAD_TOKEN],
  },
} as const;

interface Change {
  title: string;
  admin: boolean;
  /** Makes what the request is about, and names the request. */
  prepare(app: TestApp, caller: Person): Promise<[at: string, options: CallOptions]>;
}

const path = async (app: TestApp) => {
  const json = { full_path: `p${Math.random()}` };
  return (await app.call("POST", "/api/v1/paths", { as: "admin", json })).body.id;
};
const document = async (app: TestApp, as: CallOptions["as"]) => {
  const multipart = [{ name: "file", filename: `f${Math.random()}`, data: "bytes" }];
  return (await app.call("POST", "/api/v1/docs/upload", { as, multipart })).body.doc_id;
};

/** Changes whose body can be held back. */
const HELD: Change[] = [
  {
    title: "an admin who gives themselves everything",
    admin: true,
    prepare: async (_app, { id }) => [
      `PATCH /api/v1/users/${id}`,
      { json: { role_id: 99, is_active: true, full_name: "Still An Admin" } },
    ],
  },
  {
    title: "an update of another user",
    admin: true,
    prepare: async (app) => [
      `PATCH /api/v1/users/${(await app.person()).id}`,
      { json: { role_id: 99 } },
    ],
  },
  {
    title: "an activation",
    admin: true,
    prepare: async (app) => [
      `PATCH /api/v1/users/${(await app.person({ isActive: false })).id}/activate`,
      {},
    ],
  },
  {
    title: "a new path",
    admin: true,
    prepare: async () => ["POST /api/v1/paths", { json: { full_path: `n${Math.random()}` } }],
  },
  {
    title: "an update of a path",
    admin: true,
    prepare: async (app) => [
      `PATCH /api/v1/paths/${await path(app)}`,
      { json: { full_path: `u${Math.random()}`, description: "new" } },
    ],
  },
  {
    title: "a user's own update",
    admin: false,
    prepare: async () => ["PATCH /api/v1/users/me", { json: { full_name: "Another Name" } }],
  },
  {
    title: "a change of the password",
    admin: false,
    prepare: async () => [
      "POST /api/v1/users/me/password",
      { json: { current_password: PASSWORD, new_password: "Another one 2!" } },
    ],
  },
  {
    title: "an upload",
    admin: false,
    prepare: async () => [
      "POST /api/v1/docs/upload",
      { multipart: [{ name: "file", filename: `f${Math.random()}`, data: "bytes" }] },
    ],
  },
];

/** Changes that are over in a moment. */
const QUICK: Change[] = [
  {
    title: "a deletion of a user",
    admin: true,
    prepare: async (app) => [`DELETE /api/v1/users/${(await app.person()).id}`, {}],
  },
  {
    title: "an issue of a reset token",
    admin: true,
    prepare: async (app) => [`POST /api/v1/users/${(await app.person()).id}/password-reset`, {}],
  },
  { title: "a logout", admin: false, prepare: async () => ["POST /api/v1/auth/logout", {}] },
  {
    title: "a deletion of a path",
    admin: true,
    prepare: async (app) => [`DELETE /api/v1/paths/${await path(app)}`, {}],
  },
  {
    title: "a deletion of a document",
    admin: true,
    prepare: async (app) => [`DELETE /api/v1/docs/${await document(app, "user")}?force=true`, {}],
  },
  {
    title: "a reprocessing",
    admin: true,
    prepare: async (app) => [
      `POST /api/v1/docs/${await document(app, "user")}/reprocess?force=true`,
      {},
    ],
  },
];

/** All that a refused change must leave as it was, a row of the caller's own aside. */
async function everything({ app }: TestApp, caller: Person): Promise<unknown> {
  const { database, storage } = app;
  const tables = [
    "Users",
    "Password_Resets",
    "Virtual_Paths",
    "Documents",
    "Processing_Status",
    "Deletions",
    "Logs",
  ];
  const all: unknown[] = [(await storage.list("")).sort()];
  for (const table of tables) {
    const rows = await database.all<Record<string, unknown>>(`SELECT * FROM ${table}`);
    const others = rows.filter(({ user_id }) => table !== "Users" || user_id !== caller.id);
    // Rows of the audit trail are sealed by and by.
    all.push(others.map(({ chain_sequence, chain_mac, ...row }) => row));
  }
  return all;
}

/** Sends the head of a request and, when the server waits for the body, lets something happen first. */
async function held(
  app: TestApp,
  at: string,
  { json, multipart }: CallOptions,
  caller: Person,
  meanwhile: () => Promise<unknown>,
): Promise<Answer> {
  const [method = "", target = ""] = at.split(" ");
  const form = multipart && multipartBody(multipart);
  const { request, answer } = app.open(method, target, {
    headers: {
      Authorization: `Bearer ${caller.token}`,
      "Content-Type": form?.type ?? "application/json",
      "Transfer-Encoding": "chunked",
      Expect: "100-continue",
    },
  });
  request.flushHeaders();
  await once(request, "continue");
  await meanwhile();
  request.end(form?.body ?? (json === undefined ? undefined : JSON.stringify(json)));
  return answer;
}

/** Something happens before the next statement like this; the server's own transactions have none. */
function interrupted(
  t: TestContext,
  { app: { database } }: TestApp,
  statement: RegExp,
  happens: (tx: Queryable) => Promise<unknown>,
  afterwards?: (outcome: Promise<unknown>) => Promise<unknown>,
): void {
  const { transaction } = database;
  let isDue = true;
  const mock = t.mock.method(database, "transaction", async (work: never) => {
    let isInterrupted = false;
    const outcome = transaction<unknown>((tx) => {
      const before = async (sql: string) => {
        if (isDue && statement.test(sql)) {
          [isDue, isInterrupted] = [false, true];
          mock.mock.restore();
          await happens(tx);
        }
      };
      const watched: Queryable = {
        ...tx,
        run: async (sql, params) => before(sql).then(() => tx.run(sql, params)),
        defer: async (sql, params) => before(sql).then(() => tx.defer(sql, params)),
        insert: async (table, values, identity) =>
          before(`INSERT INTO ${table}`).then(() => tx.insert(table, values, identity)),
      };
      return (work as (q: Queryable) => Promise<unknown>)(watched);
    });
    await outcome.catch(() => {});
    if (isInterrupted) await afterwards?.(outcome);
    return outcome;
  });
}

/**
 * The next transaction finds the user and loses them before its audit row, which the engine itself
 * refuses; then they are deleted for good.
 */
function deletedBeforeAuditRow(t: TestContext, app: TestApp, userId: number): void {
  const { database } = app.app;
  interrupted(
    t,
    app,
    /INTO Logs/,
    (tx) => deleteUser(tx, userId),
    async (outcome) => {
      await assert.rejects(outcome, ForeignKeyViolation);
      await deleteUser(database, userId);
    },
  );
}

apiSuite("authority is read where it is used", ({ test }) => {
  for (const { title, admin, prepare } of HELD) {
    for (const [event, { befall, told }] of Object.entries(EVENTS)) {
      if (event === "demoted" && !admin) continue;
      test(`${title}, ${event} before the end of the body: ${told[0]}`, async (app) => {
        const caller = await app.person({ roleId: admin ? 99 : 1 });
        const [at, options] = await prepare(app, caller);
        const before = await everything(app, caller);
        let after: unknown;
        const { status, body } = await held(app, at, options, caller, async () => {
          await befall(app.app.database, caller);
          after = await findUser(app.app.database, caller.id);
        });
        assert.deepEqual([status, body.detail], told);
        assert.deepEqual(await everything(app, caller), before);
        assert.deepEqual(await findUser(app.app.database, caller.id), after);
      });
    }
  }

  for (const { title, admin, prepare } of [...HELD, ...QUICK]) {
    test(`${title} of a user who is deleted before its audit row: 401`, async (app, t) => {
      const caller = await app.person({ roleId: admin ? 99 : 1 });
      const [at, options] = await prepare(app, caller);
      const before = await everything(app, caller);
      deletedBeforeAuditRow(t, app, caller.id);
      const [method = "", target = ""] = at.split(" ");
      const { status, body } = await app.call(method, target, { ...options, as: caller });
      assert.deepEqual([status, body.detail], [401, BAD_TOKEN]);
      assert.deepEqual(await everything(app, caller), before);
    });
  }

  for (const { title, admin, prepare } of QUICK) {
    test(`${title} of a user who is deleted before its transaction: 401`, async (app, t) => {
      const { database } = app.app;
      const caller = await app.person({ roleId: admin ? 99 : 1 });
      const [at, options] = await prepare(app, caller);
      const before = await everything(app, caller);
      await trailSealed(app);
      const { transaction } = database;
      const mock = t.mock.method(database, "transaction", async (work: never) => {
        mock.mock.restore();
        await deleteUser(database, caller.id);
        return transaction(work);
      });
      const [method = "", target = ""] = at.split(" ");
      const { status, body } = await app.call(method, target, { ...options, as: caller });
      assert.deepEqual([status, body.detail], [401, BAD_TOKEN]);
      assert.deepEqual(await everything(app, caller), before);
    });
  }

  test("a download of a user who is deleted before its audit row: 401", async (app, t) => {
    const { database } = app.app;
    const caller = await app.person({ roleId: 99 });
    const target = `/api/v1/docs/${await document(app, "user")}/download`;
    await trailSealed(app);
    const defer = database.defer.bind(database);
    const mock = t.mock.method(
      database,
      "defer",
      async (...statement: Parameters<typeof defer>) => {
        if (!/INTO Logs/.test(statement[0])) return defer(...statement);
        mock.mock.restore();
        await deleteUser(database, caller.id);
        return defer(...statement);
      },
    );
    const { status, body } = await app.call("GET", target, { as: caller });
    assert.deepEqual([status, body.detail], [401, BAD_TOKEN]);
  });

  for (const [what, method, target, json] of [
    ["takes the role back", "PATCH", "", { role_id: 99 }],
    ["activates themselves", "PATCH", "/activate", undefined],
    ["deletes another", "DELETE", "", undefined],
  ] as const) {
    const event = what === "activates themselves" ? "deactivated" : "demoted";
    test(`an admin who ${what} and is ${event} while waiting for the turn: 403`, async (app, t) => {
      const caller = await app.person({ roleId: 99 });
      const { id } = method === "DELETE" ? await app.person() : caller;
      const before = await findUser(app.app.database, id);
      const { befall, told } = EVENTS[event];
      interrupted(t, app, /UPDATE Roles/, (tx) => befall(tx, caller));
      const answer = await app.call(method, `/api/v1/users/${id}${target}`, { json, as: caller });
      assert.deepEqual([answer.status, answer.body.detail], told);
      // With the transaction the interruption is undone too.
      assert.deepEqual(await findUser(app.app.database, id), before);
    });
  }

  for (const password of [PASSWORD, "wrong"]) {
    const what = password === PASSWORD ? "login" : "wrong login";
    test(`a ${what} of a user who is deleted before its audit row: 401`, async (app, t) => {
      const { id, email } = await app.person();
      deletedBeforeAuditRow(t, app, id);
      const form = { username: email, password };
      const { status, body } = await app.call("POST", "/api/v1/auth/login", { form });
      assert.deepEqual([status, body.detail], [401, "Incorrect email or password"]);
      const rows = await app.app.database.all<{
        action: string;
        by: number | null;
        details: string;
      }>("SELECT action_type AS action, user_id AS by, details FROM Logs WHERE entity_id = @id", {
        id,
      });
      assert.deepEqual(
        rows.map(({ action, by, details }) => [action, by, JSON.parse(details).email]),
        [["login_failed", null, email]],
      );
    });
  }
});
