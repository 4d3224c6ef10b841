import assert from "node:assert/strict";
import { apiSuite, PASSWORD, type Person, type Suite, type TestApp } from "../support/app.ts";
import { play, type Scenario, scenarios } from "./scenarios.ts";

const REGISTER = "POST /api/v1/auth/register";
const LOGIN = "POST /api/v1/auth/login";
const REFRESH = "POST /api/v1/auth/refresh";
const NEWCOMER = { full_name: "Salma Haddad", email: "salma@example.com", password: "passw0rd!" };
const FORM = { username: "nobody@example.com", password: PASSWORD };

let count = 0;
/** A registration that collides with no other one. */
function newcomer(more: object = {}) {
  return { ...NEWCOMER, email: `newcomer${++count}@example.com`, ...more };
}

const login = (app: TestApp, username: string, password = PASSWORD) =>
  app.call("POST", "/api/v1/auth/login", { form: { username, password } });

const refresh = (app: TestApp, token: string) =>
  app.call("POST", "/api/v1/auth/refresh", { as: token });

function claims(token: string): Record<string, unknown> {
  // As the existing clients do it.
  return JSON.parse(atob(token.split(".")[1] as string));
}

const refused: Scenario[] = [
  { title: "no body", at: REGISTER, status: 422, issues: ["missing body"] },
  {
    title: "an empty object",
    at: REGISTER,
    json: {},
    status: 422,
    issues: ["missing body.full_name", "missing body.email", "missing body.password"],
  },
  { title: "a list", at: REGISTER, json: [], status: 422, issues: ["object body"] },
  { title: "null", at: REGISTER, json: null, status: 422, issues: ["object body"] },
  {
    title: "no JSON",
    at: REGISTER,
    body: "{",
    headers: { "Content-Type": "application/json" },
    status: 422,
    issues: ["json_invalid body"],
  },
  { title: "a form", at: REGISTER, form: { email: "a@example.com" }, status: 415 },
  {
    title: "an unknown field",
    at: REGISTER,
    json: newcomer({ role_id: 99 }),
    status: 422,
    issues: ["extra_forbidden body.role_id"],
  },
  {
    title: "a role smuggled in",
    at: REGISTER,
    json: newcomer({ is_active: true }),
    status: 422,
    issues: ["extra_forbidden body.is_active"],
  },
  {
    title: "a field's prototype",
    at: REGISTER,
    body: JSON.stringify(newcomer()).replace("{", '{"__proto__":{"is_active":true},'),
    headers: { "Content-Type": "application/json" },
    status: 422,
    issues: ["extra_forbidden body.__proto__"],
  },
  {
    title: "a number as name",
    at: REGISTER,
    json: newcomer({ full_name: 7 }),
    status: 422,
    issues: ["string body.full_name"],
  },
  {
    title: "a short name",
    at: REGISTER,
    json: newcomer({ full_name: "  abcde  " }),
    status: 422,
    issues: ["min_length body.full_name"],
  },
  {
    title: "a bad address",
    at: REGISTER,
    json: newcomer({ email: "salma" }),
    status: 422,
    issues: ["regex body.email"],
  },
  { title: "a short password", at: REGISTER, json: newcomer({ password: "a1!" }), status: 422 },
  {
    title: "a bad user name",
    at: REGISTER,
    json: newcomer({ username: "a b" }),
    status: 422,
    issues: ["regex body.username"],
  },
  {
    title: "a null user name",
    at: REGISTER,
    json: newcomer({ username: null }),
    status: 422,
    issues: ["string body.username"],
  },
  { title: "no body", at: LOGIN, status: 422, issues: ["missing body"] },
  { title: "JSON", at: LOGIN, json: FORM, status: 415 },
  {
    title: "no password",
    at: LOGIN,
    form: { username: "a@example.com" },
    status: 422,
    issues: ["missing body.password"],
  },
  {
    title: "an address twice",
    at: LOGIN,
    form: [
      ["username", "a"],
      ["username", "b"],
      ["password", "c"],
    ],
    status: 422,
    issues: ["duplicate body.username"],
  },
  {
    title: "an unknown address",
    at: LOGIN,
    form: FORM,
    status: 401,
    detail: "Incorrect email or password",
  },
  {
    title: "no address at all",
    at: LOGIN,
    form: { username: "' OR 1=1 --", password: "x" },
    status: 401,
    detail: "Incorrect email or password",
  },
  {
    title: "an empty password",
    at: LOGIN,
    form: { ...FORM, password: "" },
    status: 401,
    detail: "Incorrect email or password",
  },
  {
    title: "a password beyond bcrypt's 72 bytes",
    at: LOGIN,
    form: { ...FORM, password: "x".repeat(500) },
    status: 401,
    detail: "Incorrect email or password",
  },
  { title: "no token", at: REFRESH, status: 401, detail: "Not authenticated" },
  { title: "nonsense", at: REFRESH, as: "nonsense", status: 401, detail: "Invalid refresh token" },
];

apiSuite("accounts", (suite) => {
  scenarios(suite, refused);
  registration(suite);
  logins(suite);
  refreshing(suite);
  throttling(suite);
});

function registration({ test }: Suite): void {
  test("a registration makes an inactive user without a role, and says so", async (app) => {
    const email = "Mixed.Case@Example.COM";
    const answer = await play(app, {
      title: "registers",
      at: REGISTER,
      json: { ...newcomer({ username: "سلمى_حداد" }), email, full_name: "  Salma Haddad " },
      status: 201,
      has: {
        full_name: "Salma Haddad",
        email: "mixed.case@example.com",
        username: "سلمى_حداد",
        role: null,
        role_id: null,
        is_active: false,
      },
      replies: { location: /^\/api\/v1\/users\//, "cache-control": "no-store" },
    });
    const at = answer.headers.get("location") ?? "";
    assert.equal(at, `/api/v1/users/${answer.body.user_id}`);
    assert.deepEqual((await app.call("GET", at, { as: "admin" })).body, answer.body);
    const fields = [
      "user_id",
      "full_name",
      "email",
      "username",
      "role",
      "role_id",
      "is_active",
      "created_at",
    ];
    assert.deepEqual(Object.keys(answer.body).sort(), fields.sort());
    assert.match(answer.body.created_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
    const row = await app.app.database.first<{ hash: string }>(
      "SELECT password_hash AS hash FROM Users WHERE user_id = @id",
      { id: answer.body.user_id },
    );
    assert.match(row?.hash ?? "", /^\$2b\$/);
    const log = await app.app.database.first<{ details: string }>(
      "SELECT details FROM Logs WHERE action_type = 'user_register' AND entity_id = @id",
      { id: answer.body.user_id },
    );
    assert.ok(log && !log.details.includes(NEWCOMER.password));
    assert.equal(JSON.parse(log.details).request_id, answer.headers.get("x-request-id"));
  });

  test("an address is taken whatever its case, and so is a user name, in any script", async (app) => {
    const first = newcomer({ username: "Élise.Ärger" });
    await play(app, { title: "first", at: REGISTER, json: first, status: 201 });
    const again = { title: "again", at: REGISTER, status: 400 };
    await play(app, {
      ...again,
      json: { ...first, email: first.email.toUpperCase() },
      detail: "Email already registered",
    });
    await play(app, {
      ...again,
      json: newcomer({ username: "éLISE.äRGER" }),
      detail: "Username already taken",
    });
    await play(app, {
      title: "first",
      at: REGISTER,
      json: newcomer({ username: "Иван" }),
      status: 201,
    });
    for (const username of ["ИВАН", "иван", "иВаН"]) {
      await play(app, { ...again, json: newcomer({ username }), detail: "Username already taken" });
    }
  });

  test("names are kept and compared in NFKC", async (app) => {
    for (const [username, look] of [
      ["abcd_x", "ａｂｃｄ_x"],
      ["fisch", "ﬁsch"],
      ["مرحبا", "\ufee3\ufeae\ufea3\ufe92\ufe8e"],
    ] as const) {
      await play(app, {
        title: look,
        at: REGISTER,
        json: newcomer({ username: look, full_name: "Ａｍｉｎａ Haddad" }),
        status: 201,
        has: { username, full_name: "Amina Haddad" },
      });
      for (const again of [username, look]) {
        await play(app, {
          title: again,
          at: REGISTER,
          json: newcomer({ username: again }),
          status: 400,
          detail: "Username already taken",
        });
      }
    }
  });

  test("a user name is made of the address, with a number appended until it is free", async (app) => {
    const names = [];
    for (const email of [
      "john@example.com",
      "john@example.org",
      "john@example.net",
      "JOHN@EXAMPLE.info",
    ]) {
      const answer = await play(app, {
        title: email,
        at: REGISTER,
        json: newcomer({ email }),
        status: 201,
      });
      names.push(answer.body.username);
    }
    assert.deepEqual(names, ["john_example", "john_example1", "john_example2", "john_example3"]);
    const odd = await play(app, {
      title: "odd",
      at: REGISTER,
      json: newcomer({ email: "a+b'c.d/e*fghijklmnopqrstu@x.com" }),
      status: 201,
    });
    assert.match(odd.body.username, /^[\p{L}\p{Nd}_.-]{3,20}$/u);
  });

  test("an Arabic passphrase is a good passphrase", async (app) => {
    const json = newcomer({ password: "كلمة مرور ٧ طويلة" });
    const { body } = await play(app, { title: "registers", at: REGISTER, json, status: 201 });
    await app.call("PATCH", `/api/v1/users/${body.user_id}/activate`, { as: "admin" });
    assert.equal((await login(app, json.email, json.password)).status, 200);
    assert.equal((await login(app, json.email, "كلمة مرور ٨ طويلة")).status, 401);
  });

  test("of ten that register one address at once, one is let in", async (app) => {
    const json = newcomer();
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => app.call("POST", "/api/v1/auth/register", { json })),
    );
    assert.deepEqual(answers.map(({ status }) => status).sort(), [201, ...Array(9).fill(400)]);
    for (const { status, body } of answers)
      if (status === 400) assert.equal(body.detail, "Email already registered");
  });

  test("of ten that register one user name at once, one is let in", async (app) => {
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        app.call("POST", "/api/v1/auth/register", {
          json: newcomer({ username: i % 2 ? "Contested" : "contested" }),
        }),
      ),
    );
    assert.deepEqual(answers.map(({ status }) => status).sort(), [201, ...Array(9).fill(400)]);
    for (const { status, body } of answers)
      if (status === 400) assert.equal(body.detail, "Username already taken");
  });

  test("eight whose addresses make one user name register at once, and each gets one of their own", async (app) => {
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, i) =>
        app.call("POST", "/api/v1/auth/register", {
          json: newcomer({ email: `race@same.tld${"abcdefgh"[i]}` }),
        }),
      ),
    );
    assert.deepEqual(
      answers.map(({ status }) => status),
      Array(8).fill(201),
    );
    assert.equal(new Set(answers.map(({ body }) => body.username)).size, 8);
  });
}

function logins({ test }: Suite): void {
  test("a login brings two tokens that say what clients read, never stored by anybody", async (app) => {
    const person = await app.person({ roleId: 99 });
    const answer = await play(app, {
      title: "logs in",
      at: LOGIN,
      form: {
        grant_type: "password",
        scope: "",
        username: ` ${person.email.toUpperCase()}`,
        password: PASSWORD,
      },
      status: 200,
      has: { token_type: "bearer", expires_in: 60 },
      replies: { "cache-control": "no-store" },
    });
    const access = claims(answer.body.access_token);
    const refreshed = claims(answer.body.refresh_token);
    assert.deepEqual(Object.keys(access).sort(), ["exp", "iat", "rid", "sid", "sub", "type"]);
    assert.deepEqual([access.sub, access.rid, access.type], [String(person.id), 99, "access"]);
    assert.equal(Number(access.exp) - Number(access.iat), 60);
    assert.deepEqual(Object.keys(refreshed).sort(), ["exp", "iat", "jti", "sid", "sub", "type"]);
    assert.deepEqual(
      [refreshed.sub, refreshed.type, refreshed.sid],
      [String(person.id), "refresh", access.sid],
    );
    assert.equal(
      (await app.call("GET", "/api/v1/users", { as: answer.body.access_token })).status,
      200,
    );
  });

  test("a wrong password is a 401, and an inactive user learns of it only with the right one", async (app) => {
    const inactive = await app.as("inactive");
    for (const [who, password, status, detail] of [
      [(await app.as("user")).email, `${PASSWORD} `, 401, "Incorrect email or password"],
      [inactive.email, "wrong", 401, "Incorrect email or password"],
      [inactive.email, PASSWORD, 403, "User is not active"],
    ] as const) {
      const answer = await login(app, who, password);
      assert.deepEqual([answer.status, answer.body.detail], [status, detail]);
    }
  });

  test("logins and failed ones are in the audit trail, without the password", async (app) => {
    const person = await app.person();
    await login(app, person.email, "a secret guess");
    await login(app, person.email);
    const rows = await app.app.database.all<{ action: string; details: string }>(
      "SELECT action_type AS action, details FROM Logs WHERE user_id = @id ORDER BY log_id",
      { id: person.id },
    );
    assert.deepEqual(
      rows.map(({ action }) => action),
      ["login_failed", "login"],
    );
    for (const { details } of rows) {
      assert.match(JSON.parse(details).address, /127\.0\.0\.1$/);
      assert.doesNotMatch(details, /secret guess|eyJ/);
    }
  });

  test("a failed login of nobody is recorded as well", async (app) => {
    await login(app, "ghost@example.com", "x");
    const row = await app.app.database.first(
      "SELECT log_id AS id FROM Logs WHERE action_type = 'login_failed' AND user_id IS NULL",
    );
    assert.ok(row);
  });
}

function refreshing({ test, testAlone }: Suite): void {
  test("a refresh brings a new access token, and the old refresh token goes on working", async (app) => {
    const person = await app.person();
    for (let i = 0; i < 3; i++) {
      const answer = await play(app, {
        title: "refreshes",
        at: REFRESH,
        as: person.refreshToken,
        status: 200,
        has: { token_type: "bearer" },
        replies: { "cache-control": "no-store" },
      });
      assert.equal(
        (await app.call("GET", "/api/v1/users/me", { as: answer.body.access_token })).status,
        200,
      );
      assert.ok(answer.body.expires_in > 0 && answer.body.expires_in <= 60);
    }
  });

  test("parallel tabs get one and the same successor", async (app) => {
    const person = await app.person();
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => refresh(app, person.refreshToken)),
    );
    assert.deepEqual(
      answers.map(({ status }) => status),
      Array(5).fill(200),
    );
    assert.equal(new Set(answers.map(({ body }) => body.refresh_token)).size, 1);
  });

  test("a refresh token of before the last rotations ends the session, and says so in the audit trail", async (app) => {
    const person = await app.person();
    const second = (await refresh(app, person.refreshToken)).body;
    const third = (await refresh(app, second.refresh_token)).body;
    assert.notEqual(third.refresh_token, second.refresh_token);
    await refresh(app, third.refresh_token);
    assert.equal(
      (await app.call("GET", "/api/v1/users/me", { as: third.access_token })).status,
      200,
    );

    const replayed = await refresh(app, person.refreshToken);
    assert.deepEqual([replayed.status, replayed.body.detail], [401, "Invalid refresh token"]);
    for (const token of [second.refresh_token, third.refresh_token]) {
      assert.equal((await refresh(app, token)).status, 401);
    }
    assert.equal(
      (await app.call("GET", "/api/v1/users/me", { as: third.access_token })).status,
      401,
    );
    const reuses = await app.app.database.all(
      "SELECT log_id AS id FROM Logs WHERE action_type = 'token_reuse' AND user_id = @id",
      { id: person.id },
    );
    assert.equal(reuses.length, 1);
  });

  test("a new login is not touched by the end of another session", async (app) => {
    const person = await app.person();
    const other = (await login(app, person.email)).body;
    const second = (await refresh(app, person.refreshToken)).body;
    await refresh(app, (await refresh(app, second.refresh_token)).body.refresh_token);
    assert.equal((await refresh(app, person.refreshToken)).status, 401);
    assert.equal((await refresh(app, other.refresh_token)).status, 200);
  });

  test("each refusal has its own words", async (app) => {
    const user = await app.as("user");
    const inactive = await app.as("inactive");
    const gone = await app.person();
    await app.call("DELETE", `/api/v1/users/${gone.id}`, { as: "admin" });
    const now = Math.floor(Date.now() / 1000);
    const ids = { sid: "a".repeat(32), jti: "b".repeat(32) };
    const expired = app.jwt.sign({
      sub: String(user.id),
      type: "refresh",
      iat: now - 9,
      exp: now - 1,
      ...ids,
    });
    const unknown = app.jwt.sign({
      sub: String(user.id),
      type: "refresh",
      iat: now,
      exp: now + 60,
      ...ids,
    });
    for (const [token, status, detail] of [
      [user.token, 401, "Invalid token type. Refresh token required."],
      [inactive.refreshToken, 401, "User is not active"],
      [gone.refreshToken, 401, "User not found"],
      [expired, 401, "Invalid refresh token"],
      [unknown, 401, "Invalid refresh token"],
      [`${user.refreshToken}x`, 401, "Invalid refresh token"],
    ] as const) {
      const answer = await refresh(app, token);
      assert.deepEqual([answer.status, answer.body.detail], [status, detail]);
    }
  });

  test("a deactivated user's sessions are over, also when they are let in again", async (app) => {
    const person = await app.person();
    const change = (is_active: boolean) =>
      app.call("PATCH", `/api/v1/users/${person.id}`, { as: "admin", json: { is_active } });
    await change(false);
    const refused = async () => {
      const { status, body } = await refresh(app, person.refreshToken);
      return [status, body.detail];
    };
    assert.deepEqual(await refused(), [401, "User is not active"]);
    await change(true);
    assert.deepEqual(await refused(), [401, "Invalid refresh token"]);
    assert.equal((await app.call("GET", "/api/v1/users/me", { as: person })).status, 401);
    assert.equal((await login(app, person.email)).status, 200);
  });

  testAlone(
    "tokens end when their time is over, and the session with the days of its login",
    {},
    async (app) => {
      const person: Person = await app.person();
      app.clock.offset = 61_000;
      assert.equal((await app.call("GET", "/api/v1/users/me", { as: person })).status, 401);
      const second = (await refresh(app, person.refreshToken)).body;
      assert.equal(
        (await app.call("GET", "/api/v1/users/me", { as: second.access_token })).status,
        200,
      );
      assert.equal(claims(second.refresh_token).exp, claims(person.refreshToken).exp);
      app.clock.offset = 7 * 24 * 3600 * 1000;
      assert.equal((await refresh(app, second.refresh_token)).status, 401);
    },
  );

  testAlone("an honest second tab is not logged out with the first", {}, async (app) => {
    const person = await app.person();
    const first = (await refresh(app, person.refreshToken)).body.refresh_token;
    app.clock.offset = 11_000;
    const second = (await refresh(app, person.refreshToken)).body.refresh_token;
    assert.equal(second, first);
    assert.equal((await refresh(app, first)).status, 200);
    // The late answer of yet another tab; ten seconds later it would be a replay.
    assert.equal((await refresh(app, person.refreshToken)).status, 200);
    app.clock.offset = 22_000;
    assert.equal((await refresh(app, person.refreshToken)).status, 401);
    assert.equal((await refresh(app, first)).status, 401);
  });
}

function throttling({ testAlone }: Suite): void {
  const one = { AUTH_RATE_PER_ADDRESS: "3", AUTH_RATE_PER_ACCOUNT: "0" };
  testAlone("an address that tries too often is told to wait", { env: one }, async (app) => {
    const statuses = [];
    for (let i = 0; i < 4; i++)
      statuses.push((await login(app, `guess${i}@example.com`, "x")).status);
    assert.deepEqual(statuses, [401, 401, 401, 429]);
    const { status, headers } = await login(app, (await app.as("user")).email);
    assert.equal(status, 429);
    assert.ok(Number(headers.get("retry-after")) <= 20);
    // Other routes go on.
    assert.equal((await app.call("GET", "/api/v1/users/me", { as: "user" })).status, 200);
  });

  const account = { AUTH_RATE_PER_ADDRESS: "0", AUTH_RATE_PER_ACCOUNT: "2" };
  testAlone(
    "an account that is tried too often waits, in any spelling; others don't",
    { env: account },
    async (app) => {
      const { email } = await app.as("user");
      const statuses = [];
      for (const name of [email, email.toUpperCase(), ` ${email} `])
        statuses.push((await login(app, name, "x")).status);
      assert.deepEqual(statuses, [401, 401, 429]);
      assert.equal((await login(app, (await app.as("other")).email)).status, 200);
    },
  );

  testAlone(
    "refreshes are counted by session, and a dead token spends nobody's",
    { env: account },
    async (app) => {
      const person = await app.person();
      const stolen = (await refresh(app, person.refreshToken)).body;
      await app.call("PATCH", `/api/v1/users/${person.id}`, {
        as: "admin",
        json: { is_active: false },
      });
      await app.call("PATCH", `/api/v1/users/${person.id}/activate`, { as: "admin" });
      const [one, two] = [await login(app, person.email), await login(app, person.email)];
      for (let i = 0; i < 5; i++)
        assert.equal((await refresh(app, stolen.refresh_token)).status, 401);
      const statuses = async (token: string) => {
        const found = [];
        for (let i = 0; i < 3; i++) found.push((await refresh(app, token)).status);
        return found;
      };
      assert.deepEqual(await statuses(one.body.refresh_token), [200, 200, 429]);
      assert.deepEqual(await statuses(two.body.refresh_token), [200, 200, 429]);
    },
  );

  testAlone("registrations and refreshes are counted too", { env: one }, async (app) => {
    const person = await app.person();
    const registrations = [];
    for (let i = 0; i < 4; i++)
      registrations.push(
        (await app.call("POST", "/api/v1/auth/register", { json: newcomer() })).status,
      );
    assert.deepEqual(registrations, [201, 201, 201, 429]);
    const refreshes = [];
    for (let i = 0; i < 4; i++) refreshes.push((await refresh(app, person.refreshToken)).status);
    assert.deepEqual(refreshes, [200, 200, 200, 429]);
  });
}
