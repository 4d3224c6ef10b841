import assert from "node:assert/strict";
import { test } from "node:test";
import type { AccessLevel } from "../../src/routes/access.ts";
import { type Handlers, table } from "../../src/routes/table.ts";
import { apiSuite, type CallOptions, type TestApp } from "../support/app.ts";
import { ROUTES } from "./routes.ts";
import { play } from "./scenarios.ts";

const NO_TOKEN = "Not authenticated";
const BAD_TOKEN = "Could not validate credentials";
const INACTIVE = "Your account is not active. Please contact an administrator.";
const NO_ADMIN = "You are not authorized to perform this action.";
const ORDER: AccessLevel[] = ["public", "user", "active", "admin"];

test("the table is the specification's, access levels included", () => {
  const anything = new Proxy({}, { get: () => () => ({ status: 204, headers: {} }) });
  const handlers = new Proxy({}, { get: () => anything }) as Handlers;
  const rows = table(handlers).map(({ method, path, level }) => [method, path, level]);
  assert.deepEqual(rows.map(String).sort(), ROUTES.map(String).sort());
});

/** Tokens that must not be believed. */
async function badTokens(app: TestApp): Promise<[what: string, token: string][]> {
  const admin = await app.as("admin");
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    sub: String(admin.id),
    rid: 99,
    type: "access" as const,
    iat: now,
    exp: now + 60,
  };
  const [header, payload, signature = ""] = admin.token.split(".");
  const unsigned = Buffer.from('{"alg":"none","typ":"JWT"}').toString("base64url");
  return [
    ["no token at all", "nonsense"],
    ["a refresh token", admin.refreshToken],
    ["an expired one", app.jwt.sign({ ...claims, iat: now - 120, exp: now - 1 })],
    ["one of nobody", app.jwt.sign({ ...claims, sub: "987654" })],
    ["one of an unknown session", app.jwt.sign({ ...claims, sid: "0".repeat(32) })],
    [
      "one of another's session",
      app.jwt.sign({ ...claims, sub: String((await app.as("user")).id), sid: sid(admin.token) }),
    ],
    [
      "another signature",
      `${header}.${payload}.${signature.replace(/^./, (c) => (c === "A" ? "B" : "A"))}`,
    ],
    ["no signature", `${unsigned}.${payload}.`],
  ];
}

function sid(token: string): string {
  return JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()).sid;
}

apiSuite("who may do what", (suite) => {
  for (const [method, pattern, level] of ROUTES) {
    if (level === "public") continue;
    // Ids of nothing and no body: refusals come before anything is looked at.
    const at = `${method} ${pattern.replace(/:\w+/, "2147483647")}`;
    const refused = (who: CallOptions["as"], status: number, detail: string, app: TestApp) =>
      play(app, { title: `as ${String(who)}`, at, as: who, status, detail });

    suite.test(`${method} ${pattern} is for ${level} users`, async (app) => {
      await refused(undefined, 401, NO_TOKEN, app);
      for (const [, token] of await badTokens(app)) await refused(token, 401, BAD_TOKEN, app);
      if (ORDER.indexOf(level) >= ORDER.indexOf("active"))
        await refused("inactive", 403, INACTIVE, app);
      if (level === "admin") await refused("user", 403, NO_ADMIN, app);
      // Somebody of their own: a logout ends the session.
      const who = await app.person({ roleId: level === "admin" ? 99 : 1 });
      const answer = await app.call(method, at.slice(method.length + 1), { as: who });
      assert.ok(
        answer.status !== 401 && answer.status !== 403 && answer.status < 500,
        String(answer.status),
      );
    });
  }

  suite.test("the scheme is Bearer, whatever its case, with one token", async (app) => {
    const { token } = await app.as("user");
    const me = (Authorization: string) =>
      app.call("GET", "/api/v1/users/me", { headers: { Authorization } });
    for (const good of [`Bearer ${token}`, `bearer ${token}`, `BEARER   ${token}`])
      assert.equal((await me(good)).status, 200);
    for (const bad of [
      "",
      token,
      `Basic ${token}`,
      "Bearer",
      "Bearer ",
      `Bearer ${token} ${token}`,
    ]) {
      const answer = await me(bad);
      assert.deepEqual([answer.status, answer.body.detail], [401, NO_TOKEN], bad);
    }
  });

  suite.test("a token in the query or in a cookie is none", async (app) => {
    const { token } = await app.as("user");
    const answer = await app.call("GET", `/api/v1/users/me?access_token=${token}`, {
      headers: { Cookie: `access_token=${token}` },
    });
    assert.deepEqual([answer.status, answer.body.detail], [401, NO_TOKEN]);
  });

  suite.test(
    "a token without a session, minted by the reference server, is good until it expires",
    async (app) => {
      const { id } = await app.as("user");
      const now = Math.floor((Date.now() + app.clock.offset) / 1000);
      const token = app.jwt.sign({
        sub: String(id),
        rid: 1,
        type: "access",
        iat: now,
        exp: now + 60,
      });
      const answer = await app.call("GET", "/api/v1/docs/me", { as: token });
      assert.equal(answer.status, 200);
    },
  );

  suite.test(
    "a demotion, a promotion and a deactivation work at once, whatever the token says",
    async (app) => {
      const person = await app.person({ roleId: 99 });
      const list = () => app.call("GET", "/api/v1/users", { as: person });
      const change = async (json: object) => {
        const answer = await app.call("PATCH", `/api/v1/users/${person.id}`, { as: "admin", json });
        assert.equal(answer.status, 200);
      };
      assert.equal((await list()).status, 200);
      await change({ role_id: 1 });
      assert.deepEqual([(await list()).status, (await list()).body.detail], [403, NO_ADMIN]);
      await change({ role_id: 99 });
      assert.equal((await list()).status, 200);
      await change({ is_active: false });
      assert.deepEqual([(await list()).status, (await list()).body.detail], [403, INACTIVE]);
      await change({ is_active: true });
      // The session ended with the deactivation, for good.
      assert.deepEqual([(await list()).status, (await list()).body.detail], [401, BAD_TOKEN]);
    },
  );

  suite.test("a deleted user's token is nobody's", async (app) => {
    const person = await app.person();
    assert.equal(
      (await app.call("DELETE", `/api/v1/users/${person.id}`, { as: "admin" })).status,
      204,
    );
    const answer = await app.call("GET", "/api/v1/users/me", { as: person });
    assert.deepEqual([answer.status, answer.body.detail], [401, BAD_TOKEN]);
  });
});
