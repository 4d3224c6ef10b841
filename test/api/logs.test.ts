import assert from "node:assert/strict";
import { listHeads } from "../../src/data/audit.ts";
import { verifyTrail } from "../../src/domain/audit-verify.ts";
import { apiSuite, type Suite, type TestApp } from "../support/app.ts";
import { until } from "../support/wait.ts";
import { play } from "./scenarios.ts";

interface Item {
  log_id: number;
  log_timestamp: string;
  action_type: string;
  user_id: number | null;
  entity_id: number | null;
  details: Record<string, unknown> & { fields?: string[] };
}

async function list(app: TestApp, query: Record<string, string | number> = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) search.set(name, String(value));
  const answer = await play(app, {
    title: String(search),
    at: `GET /api/v1/logs/?${search}`,
    as: "admin",
    status: 200,
    replies: { "cache-control": "no-store" },
  });
  return answer.body as { total: number; items: Item[] };
}

const makePath = (app: TestApp, full_path: string, headers: Record<string, string> = {}) =>
  app.call("POST", "/api/v1/paths", { as: "admin", json: { full_path }, headers });

apiSuite("The audit trail's API", (suite) => {
  reading(suite);
  filters(suite);
  hostile(suite);
  chain(suite);
});

function reading({ test }: Suite): void {
  test("shows who did what, on what, from where, in which request", async (app) => {
    const { id } = await app.as("admin");
    const made = await makePath(app, "shown", { "X-Request-Id": "shown-1" });
    const [item] = (await list(app, { action_type: "path_create", limit: 1 })).items;
    assert.ok(item);
    const { log_id, log_timestamp, details, ...rest } = item;
    assert.deepEqual(rest, { action_type: "path_create", user_id: id, entity_id: made.body.id });
    const { at, event_id, ...told } = details;
    assert.deepEqual(told, {
      actor_id: id,
      address: "127.0.0.1",
      request_id: "shown-1",
      full_path: "shown",
    });
    assert.ok(log_id > 0);
    assert.ok(Math.abs(Date.parse(String(at)) - Date.parse(log_timestamp)) <= 4);
    assert.match(String(event_id), /^[0-9a-f-]{36}$/);
  });

  test("pages from the newest on, and counts all", async (app) => {
    for (const name of ["page-1", "page-2", "page-3"]) await makePath(app, name);
    const all = await list(app, { limit: 100, action_type: "path_create" });
    const ids = all.items.map(({ log_id }) => log_id);
    assert.deepEqual(
      ids,
      ids.toSorted((a, b) => b - a),
    );
    const page = await list(app, { skip: 1, limit: 2, action_type: "path_create" });
    assert.deepEqual([page.total, page.items], [all.total, all.items.slice(1, 3)]);
    const beyond = await list(app, { skip: 1_000_000 });
    assert.deepEqual([beyond.items.length, beyond.total > 0], [0, true]);
  });

  test("shows rows that others wrote, whatever their details are", async (app) => {
    const details = [null, "", "plain text", "5", '"text"', "[1]", "{broken", '{"a":{"b":1}}'];
    for (const text of details)
      await app.app.database.run(
        `INSERT INTO Logs (log_timestamp, action_type, details) VALUES (@at, 'foreign', @text)`,
        { at: new Date(), text },
      );
    const { items } = await list(app, { action_type: "foreign" });
    assert.deepEqual(
      items.map((item) => item.details).reverse(),
      details.map((text) => (text?.startsWith('{"a') ? { a: { b: 1 } } : text)),
    );
  });
}

function filters({ test }: Suite): void {
  test("finds what a user did, also after they have been deleted", async (app) => {
    const person = await app.person();
    await app.call("PATCH", "/api/v1/users/me", { as: person, json: { full_name: "Other Name" } });
    const before = await list(app, { user_id: person.id });
    assert.deepEqual(
      before.items.map(({ action_type }) => action_type),
      ["user_self_update"],
    );
    await app.call("DELETE", `/api/v1/users/${person.id}`, { as: "admin" });
    const after = await list(app, { user_id: person.id });
    assert.deepEqual(
      [after.total, after.items],
      [1, before.items.map((item) => ({ ...item, user_id: null }))],
    );
    assert.deepEqual(await list(app, { user_id: 10 ** 15 }), { total: 0, items: [] });
  });

  test("finds what happened from one instant to before another", async (app) => {
    await makePath(app, "timed");
    const [item] = (await list(app, { action_type: "path_create", limit: 1 })).items;
    const time = Date.parse(String(item?.log_timestamp));
    const [before, after] = [-10, 10].map((ms) => new Date(time + ms).toISOString());
    const found = async (query: Record<string, string>) =>
      (await list(app, { limit: 100, ...query })).items.some(
        ({ log_id }) => log_id === item?.log_id,
      );
    assert.equal(await found({ since: String(before), until: String(after) }), true);
    assert.equal(await found({ since: String(after) }), false);
    assert.equal(await found({ until: String(before) }), false);
    const zoned = new Date(time - 10 + 3_600_000).toISOString().replace("Z", "+01:00");
    assert.equal(await found({ since: zoned }), true);
  });

  test("refuses what is no filter with 422", async (app) => {
    const bad = [
      ...["yesterday", "2026-02-26", "2026-02-30T00:00:00Z", "2026-02-26T14:30:00"],
      ...["0000-01-01T00:00:00Z", "2026-02-26T24:00:00Z", "2026-02-26T14:30:00 01:00", ""],
      ...["2026-13-01T00:00:00Z", "+020260-01-01T00:00:00Z", "1772116200", "2026-02-26T14:30Z"],
      ...["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-00:01", "2026-02-26T14:30:00+24:00"],
    ].flatMap((value) => [`since=`, `until=`].map((name) => name + encodeURIComponent(value)));
    bad.push("user_id=0", "user_id=x", "limit=0", "limit=101", "skip=-1");
    bad.push(`action_type=${"x".repeat(51)}`, "user_id=1&user_id=2");
    for (const query of bad) {
      const { status } = await app.call("GET", `/api/v1/logs?${query}`, { as: "admin" });
      assert.equal(status, 422, query);
    }
  });
}

function hostile({ test }: Suite): void {
  test("what a client sends stays text: no header, no path, no JSON of its own", async (app) => {
    const { id } = await app.as("admin");
    const names = ['"},"actor_id":1,"x":{"', "%2e%2e%2fetc%2fpasswd", "' OR 1=1 --", "%_[a]"];
    for (const name of names) {
      const made = await makePath(app, name, {
        "X-Request-Id": `"},"actor_id":1`,
        "X-Forwarded-For": "203.0.113.9",
      });
      assert.equal(made.status, 201, name);
      const [item] = (await list(app, { action_type: "path_create", limit: 1 })).items;
      assert.deepEqual(
        [item?.details.actor_id, item?.details.full_path, item?.details.address],
        [id, name, "127.0.0.1"],
      );
      assert.equal(item?.details.request_id, made.headers.get("x-request-id"));
      assert.equal((await list(app, { action_type: name })).total, 0);
    }
    const form = { username: 'a@b.cd\r\nSet-Cookie: x=1"}', password: "guess" };
    assert.equal((await app.call("POST", "/api/v1/auth/login", { form })).status, 401);
    const [failed] = (await list(app, { action_type: "login_failed", limit: 1 })).items;
    assert.ok(failed && !JSON.stringify(failed).includes("Set-Cookie"));
    assert.ok(!JSON.stringify(failed).includes("guess"));
  });
}

function chain({ testAlone }: Suite): void {
  const AUDIT_KEY = "a key of its own for the audit trail";
  const LATE = 5000;

  testAlone("every row of the server is in the chain", { env: { AUDIT_KEY } }, async (app) => {
    const { database } = app.app;
    await makePath(app, "chained");
    await app.call("POST", "/api/v1/auth/login", { form: { username: "a@b.cd", password: "x" } });
    const waiting = async () => {
      const { lines } = await verifyTrail(database, [AUDIT_KEY]);
      return lines[0]?.startsWith("epoch 1: 2 rows, and 0 not sealed yet; ") && lines;
    };
    const lines = await until(waiting, "both rows to be sealed", LATE);
    assert.match(String(lines[1]), /^outside .*: 0 rows$/);
    const [head] = await listHeads(database);
    assert.ok(head && !head.wrappedKey.includes(AUDIT_KEY));
  });
}
