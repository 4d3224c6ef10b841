import assert from "node:assert/strict";
import { apiSuite, type Suite, type TestApp } from "../support/app.ts";
import { play, type Scenario, scenarios } from "./scenarios.ts";

const NOBODY = 2_000_000_000;
const LAST_ADMIN = /last active admin/i;
const admin = { as: "admin" } as const;

const change = (app: TestApp, id: number, json: object, as: "admin" | string = "admin") =>
  app.call("PATCH", `/api/v1/users/${id}`, { as, json });

const rows: Scenario[] = [
  ...[
    "skip=-1",
    "skip=x",
    "skip=1.5",
    "skip=",
    "limit=0",
    "limit=101",
    "limit=-1",
    "limit=1e2",
    "limit=+5",
    "limit=%20",
    "is_active=maybe",
    "is_active=",
    "skip=99999999999999999999",
  ].map((query) => ({
    title: "out of range",
    at: `GET /api/v1/users?${query}`,
    ...admin,
    status: 422,
  })),
  {
    title: "twice",
    at: "GET /api/v1/users?limit=5&limit=6",
    ...admin,
    status: 422,
    issues: ["duplicate query.limit"],
  },
  { title: "the most", at: "GET /api/v1/users?limit=100", ...admin, status: 200 },
  { title: "beyond the end", at: "GET /api/v1/users?skip=9007199254740991", ...admin, status: 200 },
  { title: "with a slash", at: "GET /api/v1/users/?limit=1", ...admin, status: 200 },
  { title: "the most pending", at: "GET /api/v1/users/pending?limit=50", ...admin, status: 200 },
  {
    title: "too many pending",
    at: "GET /api/v1/users/pending?limit=51",
    ...admin,
    status: 422,
    issues: ["max_value query.limit"],
  },
  {
    title: "nobody",
    at: `PATCH /api/v1/users/${NOBODY}`,
    ...admin,
    json: { full_name: "Somebody" },
    status: 404,
    detail: "User not found",
  },
  {
    title: "nobody",
    at: `PATCH /api/v1/users/${NOBODY}/activate`,
    ...admin,
    status: 404,
    detail: "User not found",
  },
  {
    title: "nobody",
    at: `GET /api/v1/users/${NOBODY}`,
    ...admin,
    status: 404,
    detail: "User not found",
  },
  {
    title: "no id",
    at: "GET /api/v1/users/0",
    ...admin,
    status: 422,
    issues: ["regex path.user_id"],
  },
  {
    title: "nobody",
    at: `DELETE /api/v1/users/${NOBODY}`,
    ...admin,
    status: 404,
    detail: "User not found",
  },
  {
    title: "more than an INT",
    at: "DELETE /api/v1/users/9007199254740991",
    ...admin,
    status: 404,
    detail: "User not found",
  },
  ...[
    "0",
    "-1",
    "1.5",
    "01",
    "+1",
    "1e3",
    "abc",
    "%31%20",
    "9007199254740993",
    "99999999999999999999",
    "me2",
    "%D9%A1",
  ].map((id) => ({
    title: "no id",
    at: `PATCH /api/v1/users/${id}`,
    ...admin,
    json: { full_name: "Somebody" },
    status: 422,
  })),
  {
    title: "no id",
    at: "DELETE /api/v1/users/abc",
    ...admin,
    status: 422,
    issues: ["regex path.user_id"],
  },
  {
    title: "nothing",
    at: "PATCH /api/v1/users/me",
    as: "user",
    json: {},
    status: 400,
    detail: "No fields to update",
  },
  {
    title: "no body",
    at: "PATCH /api/v1/users/me",
    as: "user",
    status: 422,
    issues: ["missing body"],
  },
  {
    title: "an address of one's own",
    at: "PATCH /api/v1/users/me",
    as: "user",
    json: { email: "new@example.com" },
    status: 422,
    issues: ["extra_forbidden body.email"],
  },
  {
    title: "a role of one's own",
    at: "PATCH /api/v1/users/me",
    as: "user",
    json: { role_id: 99, is_active: true },
    status: 422,
    issues: ["extra_forbidden body.role_id"],
  },
  {
    title: "a short name",
    at: "PATCH /api/v1/users/me",
    as: "user",
    json: { full_name: "short" },
    status: 422,
    issues: ["min_length body.full_name"],
  },
  {
    title: "null",
    at: "PATCH /api/v1/users/me",
    as: "user",
    json: { username: null },
    status: 422,
    issues: ["string body.username"],
  },
];

apiSuite("users", (suite) => {
  scenarios(suite, rows);
  lists(suite);
  changes(suite);
  activation(suite);
  deletion(suite);
  lastAdmin(suite);
});

function lists({ test, testAlone }: Suite): void {
  testAlone("the list is oldest first, in pages, with the total in a header", {}, async (app) => {
    const people = [await app.as("admin")];
    for (let i = 0; i < 6; i++)
      people.push(await app.person({ isActive: i % 2 === 0, roleId: i % 3 ? 1 : null }));
    const page = async (query: string) => {
      const { body, headers } = await play(app, {
        title: query,
        at: `GET /api/v1/users${query}`,
        ...admin,
        status: 200,
      });
      return {
        ids: body.map((user: { user_id: number }) => user.user_id),
        total: headers.get("x-total-count"),
      };
    };
    const ids = people.map(({ id }) => id);
    assert.deepEqual(await page(""), { ids, total: "7" });
    assert.deepEqual(await page("?skip=2&limit=3"), { ids: ids.slice(2, 5), total: "7" });
    assert.deepEqual(await page("?skip=6"), { ids: ids.slice(6), total: "7" });
    assert.deepEqual(await page("?skip=7"), { ids: [], total: "7" });
    assert.deepEqual(await page("?is_active=true"), {
      ids: [0, 1, 3, 5].map((i) => ids[i]),
      total: "4",
    });
    assert.deepEqual(await page("?is_active=False"), {
      ids: [2, 4, 6].map((i) => ids[i]),
      total: "3",
    });
    assert.deepEqual(await page("?is_active=1&limit=1"), { ids: ids.slice(0, 1), total: "4" });
    assert.deepEqual(await page("/pending"), { ids: [2, 4, 6].map((i) => ids[i]), total: "3" });
    assert.deepEqual(await page("/pending?skip=1&limit=1"), { ids: [ids[4]], total: "3" });
  });

  test("me is who asks, also in the list, and never with a hash", async (app) => {
    const person = await app.person({ roleId: 99 });
    const { body } = await app.call("GET", "/api/v1/users/me", { as: person });
    assert.deepEqual(
      { ...body, created_at: undefined },
      {
        user_id: person.id,
        full_name: person.fullName,
        email: person.email,
        username: person.username,
        role: "Admin",
        role_id: 99,
        is_active: true,
        created_at: undefined,
      },
    );
    assert.match(body.created_at, /Z$/);
    const none = await app.person({ roleId: null });
    assert.deepEqual((await app.call("GET", "/api/v1/users/me", { as: none })).body.role, null);
  });

  test("the roles are told to admins", async (app) => {
    const { body } = await play(app, {
      title: "roles",
      at: "GET /api/v1/roles/",
      ...admin,
      status: 200,
    });
    const roles = body.map(({ role_id, role_name }: Record<string, unknown>) => [
      role_id,
      role_name,
    ]);
    assert.deepEqual(roles, [
      [1, "User"],
      [99, "Admin"],
    ]);
    assert.ok(body.every((role: object) => "description" in role));
  });
}

function changes({ test }: Suite): void {
  test("people change their own name, and keep what they have", async (app) => {
    const person = await app.person();
    const change = (json: object) =>
      play(app, { title: "changes", at: "PATCH /api/v1/users/me", as: person, json, status: 200 });
    assert.equal((await change({ full_name: "  Новое Имя " })).body.full_name, "Новое Имя");
    const { body } = await change({ username: "neuer.name" });
    assert.deepEqual(
      [body.full_name, body.username, body.email],
      ["Новое Имя", "neuer.name", person.email],
    );
    // One's own name in another case is nobody else's.
    assert.equal((await change({ username: "Neuer.Name" })).body.username, "Neuer.Name");
    const taken = (await app.as("other")).username.toUpperCase();
    const at = "PATCH /api/v1/users/me";
    await play(app, {
      title: "taken",
      at,
      as: person,
      json: { username: taken },
      status: 400,
      detail: "Username already exists",
    });
  });

  test("an admin changes every field, and the audit trail names them", async (app) => {
    const person = await app.person({ roleId: null, isActive: false });
    const json = {
      full_name: "Another Name",
      email: "Another@Example.com",
      username: "another-name",
      role_id: 1,
      is_active: true,
    };
    const { body, headers } = await change(app, person.id, json);
    const expected = { user_id: person.id, ...json, email: "another@example.com", role: "User" };
    assert.deepEqual({ ...body, ...expected }, body);
    const { body: after } = await change(app, person.id, { role_id: null });
    assert.deepEqual([after.role, after.role_id, after.is_active], [null, null, true]);
    const log = await app.app.database.first<{ user_id: number; details: string }>(
      "SELECT user_id, details FROM Logs WHERE action_type = 'user_admin_update' AND entity_id = @id ORDER BY log_id",
      { id: person.id },
    );
    assert.equal(log?.user_id, (await app.as("admin")).id);
    const details = JSON.parse(log?.details ?? "");
    assert.deepEqual(
      [details.fields, details.request_id],
      [Object.keys(json), headers.get("x-request-id")],
    );
  });

  test("a value that stays as it is is no error, whatever today's rules say", async (app) => {
    const old = {
      full_name: "Al",
      email: `${"a".repeat(78)}@example.com`,
      username: "o".repeat(40),
    };
    const person = await app.person();
    await app.app.database.run(
      "UPDATE Users SET full_name = @full_name, email = @email, username = @username WHERE user_id = @id",
      { ...old, id: person.id },
    );
    const mine = { full_name: old.full_name, username: old.username };
    const me = { at: "PATCH /api/v1/users/me", as: person };
    const theirs = { at: `PATCH /api/v1/users/${person.id}`, ...admin };
    await play(app, { title: "nothing new", ...me, json: mine, status: 200, has: old });
    await play(app, { title: "nothing new", ...theirs, json: old, status: 200, has: old });
    await play(app, {
      title: "a new name beside the old one",
      ...me,
      json: { ...mine, full_name: "Alexander" },
      status: 200,
      has: { ...old, full_name: "Alexander" },
    });
    await play(app, {
      title: "a new role beside the old names",
      ...theirs,
      json: { ...old, full_name: "Alexander", role_id: null, is_active: true },
      status: 200,
      has: { ...old, full_name: "Alexander", role_id: null },
    });
    const rows = await app.app.database.all<{ details: string }>(
      "SELECT details FROM Logs WHERE entity_id = @id AND action_type LIKE 'user%update' ORDER BY log_id",
      { id: person.id },
    );
    assert.deepEqual(
      rows.map(({ details }) => JSON.parse(details).fields),
      [[], [], ["full_name"], ["role_id"]],
    );
    const changed = { email: `a${old.email}`, username: `o${old.username}` };
    await play(app, {
      title: "a change is held to today's rules",
      ...theirs,
      json: changed,
      status: 422,
      issues: ["max_length body.email", "regex body.username"],
    });
    await play(app, {
      title: "a change is held to today's rules",
      ...me,
      json: { ...mine, full_name: "Ale" },
      status: 422,
      issues: ["min_length body.full_name"],
    });
  });

  test("an admin is told what is wrong with a change", async (app) => {
    const { id } = await app.person();
    const other = await app.as("other");
    const at = `PATCH /api/v1/users/${id}`;
    const bad: Omit<Scenario, "at">[] = [
      { title: "nothing", json: {}, status: 400, detail: "No fields to update" },
      {
        title: "a role that isn't",
        json: { role_id: 7 },
        status: 400,
        detail: "Role with id 7 does not exist",
      },
      { title: "no role's number", json: { role_id: 0 }, status: 422 },
      { title: "half a role", json: { role_id: 1.5 }, status: 422 },
      { title: "text as role", json: { role_id: "1" }, status: 422 },
      { title: "text as flag", json: { is_active: "true" }, status: 422 },
      { title: "null as flag", json: { is_active: null }, status: 422 },
      {
        title: "a password",
        json: { password: "passw0rd!!" },
        status: 422,
        issues: ["extra_forbidden body.password"],
      },
      {
        title: "an id",
        json: { user_id: 3 },
        status: 422,
        issues: ["extra_forbidden body.user_id"],
      },
      { title: "another's address", json: { email: other.email.toUpperCase() }, status: 400 },
      { title: "another's name", json: { username: other.username.toUpperCase() }, status: 400 },
      {
        title: "two faults",
        json: { email: "x", username: "y" },
        status: 422,
        issues: ["regex body.email", "regex body.username"],
      },
    ];
    for (const row of bad) await play(app, { at, ...admin, ...row });
    const { body } = await app.call("GET", "/api/v1/users/me", { as: other });
    assert.equal(body.email, other.email);
  });

  test("one's own address is no conflict, and of ten who want one name at once one gets it", async (app) => {
    const people = await Promise.all(Array.from({ length: 10 }, () => app.person()));
    const [first] = people;
    assert.equal(
      (await change(app, first?.id ?? 0, { email: first?.email.toUpperCase() })).status,
      200,
    );
    const answers = await Promise.all(
      people.map(({ id }) => change(app, id, { username: "wanted-by-ten" })),
    );
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, ...Array(9).fill(400)]);
  });
}

function activation({ test }: Suite): void {
  test("activating lets somebody in, and twice is fine", async (app) => {
    const person = await app.person({ isActive: false });
    const at = `PATCH /api/v1/users/${person.id}/activate`;
    for (let i = 0; i < 2; i++)
      await play(app, { title: "activates", at, ...admin, status: 200, has: { is_active: true } });
    assert.equal((await app.call("GET", "/api/v1/docs/me", { as: person })).status, 200);
  });

  test("activating takes no body, of any kind", async (app) => {
    const person = await app.person({ isActive: false });
    const at = `PATCH /api/v1/users/${person.id}/activate`;
    const detail = "Request body is not allowed for this endpoint.";
    for (const sent of [{ json: {} }, { json: null }, { body: "x" }, { form: { a: "b" } }]) {
      await play(app, { title: "a body", at, ...admin, ...sent, status: 400, detail });
    }
    const chunked = { headers: { "Transfer-Encoding": "chunked" } };
    await play(app, {
      title: "a chunked body",
      at,
      ...admin,
      ...chunked,
      body: "{}",
      status: 400,
      detail,
    });
    await play(app, {
      title: "an empty body",
      at,
      ...admin,
      headers: { "Content-Length": "0" },
      status: 200,
    });
  });
}

function deletion({ test }: Suite): void {
  test("nobody deletes themselves", async (app) => {
    const { id } = await app.as("admin");
    const at = `DELETE /api/v1/users/${id}`;
    await play(app, {
      title: "oneself",
      at,
      ...admin,
      status: 400,
      detail: "Cannot delete your own account.",
    });
  });

  test("a user with documents stays", async (app) => {
    const person = await app.person();
    const upload = await app.call("POST", "/api/v1/docs/upload", {
      as: person,
      multipart: [{ name: "file", filename: "theirs.txt", data: "x" }],
    });
    assert.equal(upload.status, 201);
    const kept = await app.call("DELETE", `/api/v1/users/${person.id}`, admin);
    assert.equal(kept.status, 400);
    assert.match(kept.body.detail, /document/);
    await app.call("DELETE", `/api/v1/docs/${upload.body.doc_id}?force=true`, admin);
    assert.equal((await app.call("DELETE", `/api/v1/users/${person.id}`, admin)).status, 204);
  });

  test("the audit trail survives the user, and still says who it was", async (app) => {
    const person = await app.person();
    await app.call("PATCH", "/api/v1/users/me", {
      as: person,
      json: { full_name: "Soon Deleted" },
    });
    const answer = await app.call("DELETE", `/api/v1/users/${person.id}`, admin);
    assert.deepEqual([answer.status, answer.bytes.length], [204, 0]);
    assert.equal((await app.call("DELETE", `/api/v1/users/${person.id}`, admin)).status, 404);
    const rows = await app.app.database.all<{
      action: string;
      user_id: number | null;
      details: string;
    }>(
      "SELECT action_type AS action, user_id, details FROM Logs WHERE entity_id = @id ORDER BY log_id",
      { id: person.id },
    );
    assert.deepEqual(
      rows.map(({ action }) => action),
      ["user_self_update", "user_delete"],
    );
    assert.deepEqual(
      rows.map(({ user_id }) => user_id),
      [null, (await app.as("admin")).id],
    );
    assert.equal(JSON.parse(rows[0]?.details ?? "").actor_id, person.id);
  });
}

function lastAdmin({ testAlone }: Suite): void {
  testAlone("the last active admin can't be demoted, deactivated or deleted", {}, async (app) => {
    const { id } = await app.as("admin");
    await app.person({ roleId: 99, isActive: false });
    for (const json of [
      { role_id: 1 },
      { role_id: null },
      { is_active: false },
      { role_id: 1, is_active: true },
    ]) {
      const answer = await change(app, id, json);
      assert.equal(answer.status, 400);
      assert.match(answer.body.detail, LAST_ADMIN);
    }
    assert.equal(
      (await change(app, id, { role_id: 99, is_active: true, full_name: "Still Admin" })).status,
      200,
    );
    const second = await app.person({ roleId: 99 });
    assert.equal((await change(app, id, { role_id: 1 }, second.token)).status, 200);
    assert.equal((await change(app, second.id, { is_active: false }, second.token)).status, 400);
  });

  testAlone("of admins who demote or delete each other at once, one is left", {}, async (app) => {
    for (let round = 0; round < 5; round++) {
      const a = await app.person({ roleId: 99 });
      const b = await app.person({ roleId: 99 });
      const answers = await Promise.all([
        change(app, b.id, round % 2 ? { role_id: 1 } : { is_active: false }, a.token),
        round % 3
          ? change(app, a.id, { role_id: 1 }, b.token)
          : app.call("DELETE", `/api/v1/users/${a.id}`, { as: b }),
      ]);
      const done = answers.filter(({ status }) => status < 300);
      assert.equal(
        done.length,
        1,
        answers.map(({ status, body }) => `${status} ${JSON.stringify(body)}`).join(" | "),
      );
      const row = await app.app.database.first<{ n: number }>(
        "SELECT COUNT(*) AS n FROM Users WHERE role_id = 99 AND is_active = 1",
      );
      assert.equal(row?.n, 1);
      await app.app.database.run("UPDATE Users SET role_id = 1 WHERE role_id = 99");
    }
  });
}
