import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { insertPasswordReset } from "../../src/data/password-resets.ts";
import { updateUser } from "../../src/data/users.ts";
import {
  ADMIN,
  apiSuite,
  PASSWORD,
  type Person,
  type Suite,
  startTestApp,
  type TestApp,
  trailSealed,
} from "../support/app.ts";
import type { Answer } from "../support/client.ts";
import { watchPasswordJobs } from "../support/password-threads.ts";
import { until } from "../support/wait.ts";
import { play, type Scenario, scenarios } from "./scenarios.ts";

const NEW = "Battery staple 2?";
const BAD_TOKEN = "Could not validate credentials";
const BAD_REFRESH = "Invalid refresh token";
const BAD_RESET = "The reset token is not valid, was used or has expired.";
const INACTIVE = "Your account is not active. Please contact an administrator.";
const HOUR = 3_600_000;

interface Session {
  token: string;
  refreshToken: string;
}

async function login(app: TestApp, { email }: Person, password = PASSWORD): Promise<Session> {
  const { status, body } = await tryLogin(app, email, password);
  assert.equal(status, 200);
  return { token: body.access_token, refreshToken: body.refresh_token };
}

const tryLogin = (app: TestApp, username: string, password: string) =>
  app.call("POST", "/api/v1/auth/login", { form: { username, password } });
const refresh = (app: TestApp, token: string) =>
  app.call("POST", "/api/v1/auth/refresh", { as: token });
const logout = (app: TestApp, { token }: Session) =>
  app.call("POST", "/api/v1/auth/logout", { as: token });
const change = (app: TestApp, { token }: Session, json: object) =>
  app.call("POST", "/api/v1/users/me/password", { as: token, json });
const reset = (app: TestApp, reset_token: string, new_password = NEW) =>
  app.call("POST", "/api/v1/auth/password-reset", { json: { reset_token, new_password } });
const told = ({ status, body }: Answer) => [status, body?.detail];

async function issue(app: TestApp, { id }: { id: number }): Promise<string> {
  const answer = await app.call("POST", `/api/v1/users/${id}/password-reset`, { as: "admin" });
  assert.equal(answer.status, 201);
  return answer.body.reset_token;
}

async function administer(app: TestApp, { id }: Person, json?: object): Promise<void> {
  const method = json ? "PATCH" : "DELETE";
  const { status } = await app.call(method, `/api/v1/users/${id}`, { as: "admin", json });
  assert.equal(status, json ? 200 : 204);
}

/** What the audit trail says of a user, without what every row has. */
async function trail({ app }: TestApp, { id }: Person) {
  const rows = await app.database.all<{ action: string; by: number | null; details: string }>(
    `SELECT action_type AS action, user_id AS by, details FROM Logs WHERE entity_id = @id
     ORDER BY log_id`,
    { id },
  );
  return rows.map(({ action, by, details }) => {
    const { event, session_id: session } = JSON.parse(details);
    return { action, by, ...(event && { event }), ...(session !== undefined && { session }) };
  });
}

const sid = ({ token }: Session): string => JSON.parse(atob(token.split(".")[1] ?? "")).sid;

/** What a session's two tokens are still good for. */
async function uses(app: TestApp, session: Session) {
  const [me, mine, again] = [
    await app.call("GET", "/api/v1/users/me", { as: session.token }),
    await app.call("GET", "/api/v1/docs/me", { as: session.token }),
    await refresh(app, session.refreshToken),
  ];
  return [me, mine, again].map(told);
}
const LIVE = [
  [200, undefined],
  [200, undefined],
  [200, undefined],
];
const ENDED = [
  [401, BAD_TOKEN],
  [401, BAD_TOKEN],
  [401, BAD_REFRESH],
];

interface Attack {
  /** What befell the account or the session, whose tokens are replayed afterwards. */
  after: string;
  befall(app: TestApp, person: Person, session: Session): Promise<unknown>;
  /** What then becomes of the session, and of the person's other one. */
  session: unknown[][];
  other: unknown[][];
}

const REPLAYS: Attack[] = [
  {
    after: "its logout",
    befall: (app, _person, session) => logout(app, session),
    session: ENDED,
    other: LIVE,
  },
  {
    after: "the logout of another session",
    befall: async (app, person) => logout(app, await login(app, person)),
    session: LIVE,
    other: LIVE,
  },
  {
    after: "its change of the password",
    befall: (app, _person, session) =>
      change(app, session, { current_password: PASSWORD, new_password: NEW }),
    session: LIVE,
    other: ENDED,
  },
  {
    after: "a change of the password by a session that ended then",
    befall: async (app, person) => {
      const third = await login(app, person);
      await change(app, third, { current_password: PASSWORD, new_password: NEW });
      await logout(app, third);
    },
    session: ENDED,
    other: ENDED,
  },
  {
    after: "a password reset",
    befall: async (app, person) => reset(app, await issue(app, person)),
    session: ENDED,
    other: ENDED,
  },
  {
    after: "a reset token was issued and not used",
    befall: (app, person) => issue(app, person),
    session: LIVE,
    other: LIVE,
  },
  {
    after: "a change that was refused",
    befall: (app, _person, session) =>
      change(app, session, { current_password: "guessed", new_password: NEW }),
    session: LIVE,
    other: LIVE,
  },
  {
    after: "a deactivation",
    befall: (app, person) => administer(app, person, { is_active: false }),
    session: [
      [401, BAD_TOKEN],
      [403, INACTIVE],
      [401, "User is not active"],
    ],
    other: [
      [401, BAD_TOKEN],
      [403, INACTIVE],
      [401, "User is not active"],
    ],
  },
  {
    after: "a deactivation and an activation",
    befall: async (app, person) => {
      await administer(app, person, { is_active: false });
      await administer(app, person, { is_active: true });
    },
    session: ENDED,
    other: ENDED,
  },
  {
    after: "a deletion",
    befall: (app, person) => administer(app, person),
    session: [
      [401, BAD_TOKEN],
      [401, BAD_TOKEN],
      [401, "User not found"],
    ],
    other: [
      [401, BAD_TOKEN],
      [401, BAD_TOKEN],
      [401, "User not found"],
    ],
  },
  {
    after: "the theft of its refresh token before a rotation",
    befall: async (app, _person, { refreshToken }) => {
      const first = (await refresh(app, refreshToken)).body.refresh_token;
      const second = (await refresh(app, first)).body.refresh_token;
      await refresh(app, second);
      // The thief.
      assert.deepEqual(told(await refresh(app, refreshToken)), [401, BAD_REFRESH]);
      assert.deepEqual(told(await refresh(app, second)), [401, BAD_REFRESH]);
    },
    session: ENDED,
    other: LIVE,
  },
];

function replays({ test }: Suite): void {
  for (const { after, befall, session, other } of REPLAYS) {
    test(`tokens are replayed after ${after}`, async (app) => {
      const person = await app.person();
      const [one, two] = [await login(app, person), await login(app, person)];
      assert.deepEqual(await uses(app, one), LIVE);
      await befall(app, person, one);
      assert.deepEqual(await uses(app, one), session);
      assert.deepEqual(await uses(app, two), other);
    });
  }

  test("an admin's token after the demotion is a user's", async (app) => {
    const person = await app.person({ roleId: ADMIN });
    const target = await app.person();
    const session = await login(app, person);
    await administer(app, person, { role_id: 1 });
    for (const [method, path] of [
      ["GET", "/api/v1/users"],
      ["POST", `/api/v1/users/${target.id}/password-reset`],
      ["DELETE", `/api/v1/users/${target.id}`],
    ] as const) {
      const answer = await app.call(method, path, { as: session.token });
      assert.deepEqual(told(answer), [403, "You are not authorized to perform this action."]);
    }
    assert.deepEqual(await uses(app, session), LIVE);
    const after = JSON.parse(
      atob((await refresh(app, session.refreshToken)).body.access_token.split(".")[1]),
    );
    assert.equal(after.rid, 1);
  });

  test("a forged role is none, signed or not", async (app) => {
    const { id, token } = await app.person();
    const [header, payload = "", signature] = token.split(".");
    const claims = JSON.parse(atob(payload));
    const forged = Buffer.from(JSON.stringify({ ...claims, rid: ADMIN })).toString("base64url");
    const list = (as: string) => app.call("GET", "/api/v1/users", { as });
    assert.deepEqual(told(await list(`${header}.${forged}.${signature}`)), [401, BAD_TOKEN]);
    // As if the key were the attacker's: the database says who is an admin.
    assert.equal((await list(app.jwt.sign({ ...claims, rid: ADMIN }))).status, 403);
    assert.equal(
      (await list(app.jwt.sign({ ...claims, rid: ADMIN, sub: String(id) }))).status,
      403,
    );
  });

  test("no token does another one's work", async (app) => {
    const person = await app.person();
    const resetToken = await issue(app, person);
    for (const as of [person.refreshToken, resetToken])
      assert.deepEqual(told(await logout(app, { token: as, refreshToken: "" })), [401, BAD_TOKEN]);
    const refused = "Invalid token type. Refresh token required.";
    assert.deepEqual(told(await refresh(app, person.token)), [401, refused]);
    assert.deepEqual(told(await refresh(app, resetToken)), [401, BAD_REFRESH]);
    for (const token of [person.token, person.refreshToken])
      assert.deepEqual(told(await reset(app, token)), [400, BAD_RESET]);
  });
}

function logouts({ test }: Suite): void {
  test("a logout is answered by nothing, once, and is in the audit trail", async (app) => {
    const person = await app.person();
    const session = await login(app, person);
    const answer = await logout(app, session);
    assert.deepEqual([answer.status, answer.bytes.length], [204, 0]);
    assert.deepEqual(told(await logout(app, session)), [401, BAD_TOKEN]);
    const by = person.id;
    assert.deepEqual(await trail(app, person), [
      { action: "login", by, session: sid(session) },
      { action: "logout", by, session: sid(session) },
    ]);
  });

  test("who is not active may log out", async (app) => {
    const person = await app.person({ isActive: false });
    assert.equal((await logout(app, person)).status, 204);
    assert.deepEqual(told(await logout(app, person)), [401, BAD_TOKEN]);
  });

  test("a token of the reference server has no session to end", async (app) => {
    const person = await app.person();
    const iat = Math.floor((Date.now() + app.clock.offset) / 1000);
    const sub = String(person.id);
    const token = app.jwt.sign({ sub, rid: 1, type: "access", iat, exp: iat + 60 });
    assert.equal((await logout(app, { token, refreshToken: "" })).status, 204);
    assert.deepEqual(await uses(app, person), LIVE);
    const { session } = (await trail(app, person)).at(-1) ?? {};
    assert.equal(session, null);
  });

  test("refreshes that run into a logout bring nothing that lives on", async (app) => {
    const person = await app.person();
    const racing = Array.from({ length: 10 }, () => refresh(app, person.refreshToken));
    assert.equal((await logout(app, person)).status, 204);
    for (const { status, body } of await Promise.all(racing)) {
      assert.ok(status === 200 || status === 401);
      if (status === 401) continue;
      const late = { token: body.access_token, refreshToken: body.refresh_token };
      assert.deepEqual(await uses(app, late), ENDED);
    }
  });
}

const CHANGE = "POST /api/v1/users/me/password";
const RESET = "POST /api/v1/auth/password-reset";
const rules = (at: string, given: object, as?: "user"): Scenario[] => {
  const rejected = (title: string, new_password: unknown, kind: string): Scenario => ({
    title,
    at,
    as,
    json: { ...given, new_password },
    status: 422,
    issues: [`${kind} body.new_password`],
  });
  return [
    rejected("a short password", "short 1", "min_length"),
    rejected("one of 65 characters", `1!${"x".repeat(63)}`, "max_length"),
    rejected("one without a digit", "no digit here!", "regex"),
    rejected("one of letters and digits alone", "letters4and4digits", "regex"),
    rejected("one of more than 72 bytes", `1!${"ك".repeat(40)}`, "max_bytes"),
    rejected("one with a NUL", "Battery\0staple 2?", "check"),
    rejected("a number", 12345678, "string"),
    { title: "no fields", at, as, json: {}, status: 422 },
    { title: "no JSON", at, as, form: { new_password: NEW }, status: 415 },
    {
      title: "an unknown field",
      at,
      as,
      json: { ...given, new_password: NEW, user_id: 1 },
      status: 422,
      issues: ["extra_forbidden body.user_id"],
    },
  ];
};

function changes(suite: Suite): void {
  const { test, testAlone } = suite;
  scenarios(suite, rules(CHANGE, { current_password: PASSWORD }, "user"));

  test("a change takes the new password and no longer the old one", async (app) => {
    const person = await app.person();
    const answer = await change(app, person, { current_password: PASSWORD, new_password: NEW });
    assert.deepEqual([answer.status, answer.bytes.length], [204, 0]);
    assert.equal((await tryLogin(app, person.email, PASSWORD)).status, 401);
    assert.equal((await tryLogin(app, person.email, NEW)).status, 200);
    const rows = await trail(app, person);
    assert.deepEqual(rows[0], { action: "password_change", by: person.id });
    const logs = await app.app.database.all("SELECT * FROM Logs");
    assert.ok(!JSON.stringify(logs).includes(NEW));
  });

  test("a wrong current password changes nothing", async (app) => {
    const person = await app.person();
    for (const wrong of ["", "x", `${PASSWORD} `, PASSWORD.toLowerCase(), "x".repeat(1000)]) {
      const answer = await change(app, person, { current_password: wrong, new_password: NEW });
      assert.deepEqual(told(answer), [400, "The current password is wrong."]);
    }
    assert.equal((await tryLogin(app, person.email, PASSWORD)).status, 200);
  });

  test("of several changes at once one is carried out", async (app) => {
    const person = await app.person();
    const sessions = [person, await login(app, person), await login(app, person)];
    const answers = await Promise.all(
      sessions.map((session, i) =>
        change(app, session, { current_password: PASSWORD, new_password: `${NEW} ${i}` }),
      ),
    );
    const winner = answers.findIndex(({ status }) => status === 204);
    for (const [i, { status }] of answers.entries()) {
      if (i !== winner) assert.ok(status === 400 || status === 401, String(status));
      const expected = i === winner ? 200 : 401;
      assert.equal((await tryLogin(app, person.email, `${NEW} ${i}`)).status, expected);
      const { status: now } = await app.call("GET", "/api/v1/users/me", { as: sessions[i]?.token });
      assert.equal(now, expected);
    }
  });

  test("a login with the old password that waited during the change is refused", async (app, t) => {
    const person = await app.person();
    await meanwhile(t, app, async () => {
      const { status } = await change(app, person, {
        current_password: PASSWORD,
        new_password: NEW,
      });
      assert.equal(status, 204);
    });
    const late = await tryLogin(app, person.email, PASSWORD);
    assert.deepEqual(told(late), [401, "Incorrect email or password"]);
    assert.deepEqual(
      (await trail(app, person)).map(({ action }) => action),
      ["password_change", "login_failed"],
    );
  });

  const env = { AUTH_RATE_PER_ACCOUNT: "3" };
  testAlone("guesses at the current password are guesses at the account", { env }, async (app) => {
    const person = await app.person();
    const guess = { current_password: "x", new_password: NEW };
    assert.equal((await tryLogin(app, person.email, "x")).status, 401);
    assert.equal((await change(app, person, guess)).status, 400);
    assert.equal((await change(app, person, guess)).status, 400);
    const right = { current_password: PASSWORD, new_password: NEW };
    assert.equal((await change(app, person, right)).status, 429);
    assert.equal((await tryLogin(app, person.email, PASSWORD)).status, 429);
    const other = await app.person();
    assert.equal((await change(app, other, right)).status, 204);
  });
}

/** Between what the next request reads and its transaction something else happens. */
async function meanwhile(t: TestContext, app: TestApp, work: () => Promise<void>): Promise<void> {
  await trailSealed(app);
  const { database } = app.app;
  const { transaction } = database;
  const mock = t.mock.method(database, "transaction", async (own: never) => {
    mock.mock.restore();
    await work();
    return transaction.call(database, own);
  });
}

/** Makes a token that must not be believed (any more). */
const BAD_RESETS: Record<string, (app: TestApp, person: Person) => Promise<string>> = {
  "that was never issued": async () => "3Zk0cX1rYh8uVwQnB5tLd7sJ2fMaPeGxR9yTiKoUvEs",
  "of no characters": async () => "",
  "with SQL": async () => "' OR 1=1 --",
  "of 1,000 characters": async () => "x".repeat(1000),
  "by its hash": async (app, person) =>
    createHash("sha256")
      .update(await issue(app, person))
      .digest("hex"),
  "in another case": async (app, person) => {
    const token = await issue(app, person);
    const other = token === token.toUpperCase() ? token.toLowerCase() : token.toUpperCase();
    return other;
  },
  "with a blank": async (app, person) => `${await issue(app, person)} `,
  "that was used": async (app, person) => {
    const token = await issue(app, person);
    assert.equal((await reset(app, token, "Yet another 4!")).status, 204);
    return token;
  },
  "that a newer one replaced": async (app, person) => {
    const token = await issue(app, person);
    await issue(app, person);
    return token;
  },
  "of an older one, whose newer one was used": async (app, person) => {
    const token = await issue(app, person);
    assert.equal((await reset(app, await issue(app, person), "Yet another 4!")).status, 204);
    return token;
  },
  "from before a password change": async (app, person) => {
    const token = await issue(app, person);
    const input = { current_password: PASSWORD, new_password: "Yet another 4!" };
    assert.equal((await change(app, person, input)).status, 204);
    return token;
  },
  "of a deleted user": async (app, person) => {
    const token = await issue(app, person);
    await administer(app, person);
    return token;
  },
  "of a deactivated user": async (app, person) => {
    const token = await issue(app, person);
    await administer(app, person, { is_active: false });
    return token;
  },
  "of a user who was never active": async (app) =>
    issue(app, await app.person({ isActive: false })),
};

/** Of bcrypt, by kind. */
const jobs: string[] = [];
watchPasswordJobs(({ kind }) => jobs.push(kind));

function resets(suite: Suite): void {
  const { test, testAlone } = suite;
  scenarios(suite, rules(RESET, { reset_token: "x" }));

  test("a reset token sets a new password once, and ends what was open", async (app) => {
    const person = await app.person();
    const before = Date.now();
    const at = `POST /api/v1/users/${person.id}/password-reset`;
    const { body } = await play(app, {
      title: "issues a token",
      at,
      as: "admin",
      status: 201,
      replies: { location: "/api/v1/auth/password-reset", "cache-control": "no-store" },
    });
    assert.deepEqual(Object.keys(body), ["reset_token", "expires_at"]);
    assert.match(body.reset_token, /^[\w-]{43}$/);
    const life = Date.parse(body.expires_at) - before;
    assert.ok(life >= HOUR && life < HOUR + 60_000, String(life));
    const { database } = app.app;
    const stored = await database.all<{ hash: string }>(
      "SELECT token_hash AS hash FROM Password_Resets WHERE user_id = @id",
      { id: person.id },
    );
    const hash = createHash("sha256").update(body.reset_token).digest("hex");
    assert.deepEqual(stored, [{ hash }]);
    assert.equal((await reset(app, body.reset_token)).status, 204);
    assert.equal((await tryLogin(app, person.email, PASSWORD)).status, 401);
    assert.deepEqual(await uses(app, person), ENDED);
    assert.equal((await tryLogin(app, person.email, NEW)).status, 200);
    const admin = (await app.as("admin")).id;
    assert.deepEqual((await trail(app, person)).slice(0, 2), [
      { action: "password_reset", by: admin, event: "issued" },
      { action: "password_reset", by: person.id, event: "used" },
    ]);
    const logs = JSON.stringify(await database.all("SELECT * FROM Logs"));
    for (const secret of [body.reset_token, hash, NEW]) assert.ok(!logs.includes(secret));
  });

  test("there is none for nobody", async (app) => {
    for (const [user, status] of [
      ["2147483647", 404],
      ["0", 422],
      ["me", 422],
    ] as const) {
      const answer = await app.call("POST", `/api/v1/users/${user}/password-reset`, {
        as: "admin",
      });
      assert.equal(answer.status, status);
    }
  });

  for (const [what, make] of Object.entries(BAD_RESETS)) {
    test(`a token ${what} is refused as any other, after the same work`, async (app) => {
      const person = await app.person();
      const token = await make(app, person);
      const state = () =>
        app.app.database.all(
          "SELECT user_id, password_hash, is_active FROM Users ORDER BY user_id",
        );
      const before = await state();
      // The first job of a thread is not heard of.
      await tryLogin(app, "nobody@example.com", "x");
      jobs.length = 0;
      assert.deepEqual(told(await reset(app, token)), [400, BAD_RESET]);
      assert.deepEqual(jobs, ["hash"]);
      assert.deepEqual(await state(), before);
    });
  }

  test("a token is good for an hour and no longer", async (app) => {
    const [one, two] = [await app.person(), await app.person()];
    const tokens = [await issue(app, one), await issue(app, two)] as const;
    try {
      app.clock.offset = HOUR - 60_000;
      assert.equal((await reset(app, tokens[0])).status, 204);
      app.clock.offset = HOUR;
      assert.deepEqual(told(await reset(app, tokens[1])), [400, BAD_RESET]);
    } finally {
      app.clock.offset = 0;
    }
  });

  test("of many uses at once one wins", async (app) => {
    const person = await app.person();
    const token = await issue(app, person);
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, i) => reset(app, token, `${NEW} ${i}`)),
    );
    const winner = answers.findIndex(({ status }) => status === 204);
    for (const [i, answer] of answers.entries()) {
      assert.deepEqual(told(answer), i === winner ? [204, undefined] : [400, BAD_RESET]);
      const { status } = await tryLogin(app, person.email, `${NEW} ${i}`);
      assert.equal(status, i === winner ? 200 : 401);
    }
  });

  test("of tokens that are issued at once one lives", async (app) => {
    const person = await app.person();
    const tokens = await Promise.all(Array.from({ length: 5 }, () => issue(app, person)));
    const statuses = [];
    for (const token of tokens) statuses.push((await reset(app, token)).status);
    assert.deepEqual(statuses.toSorted(), [204, 400, 400, 400, 400]);
  });

  test("a login with the old password that waited during the reset is refused", async (app, t) => {
    const person = await app.person();
    const token = await issue(app, person);
    await meanwhile(t, app, async () => {
      assert.equal((await reset(app, token)).status, 204);
    });
    assert.equal((await tryLogin(app, person.email, PASSWORD)).status, 401);
  });

  test("a change that waited during a reset is refused", async (app, t) => {
    const person = await app.person();
    const token = await issue(app, person);
    await meanwhile(t, app, async () => {
      assert.equal((await reset(app, token)).status, 204);
    });
    const late = { current_password: PASSWORD, new_password: "The thief's 1!" };
    assert.deepEqual(told(await change(app, person, late)), [401, BAD_TOKEN]);
    // Where the session would live on, the password that was proved does not.
    const other = await app.person();
    await meanwhile(t, app, () =>
      updateUser(app.app.database, other.id, { password_hash: "another one" }),
    );
    const answer = await change(app, other, late);
    assert.deepEqual(told(answer), [400, "The current password is wrong."]);
  });

  const env = { AUTH_RATE_PER_ADDRESS: "3", TRUST_PROXY: "yes" };
  testAlone("reset tokens can't be guessed in numbers from one address", { env }, async (app) => {
    const guess = async (address: string) => {
      const headers = { "X-Forwarded-For": address };
      const json = { reset_token: "guess", new_password: NEW };
      return (await app.call("POST", "/api/v1/auth/password-reset", { json, headers })).status;
    };
    const statuses = [];
    for (const address of ["2001:db8::1", "2001:DB8:0::2", "2001:db8::3%eth0", "2001:db8::4"])
      statuses.push(await guess(address));
    assert.deepEqual(statuses, [400, 400, 400, 429]);
    assert.equal(await guess("2001:db8:0:1::1"), 400);
  });
}

apiSuite("attacks on accounts", (suite) => {
  replays(suite);
  logouts(suite);
  changes(suite);
  resets(suite);
});

test("expired reset tokens are cleared away", async () => {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-resets-"));
  try {
    const first = await startTestApp({ folder });
    const { id: userId } = await first.person();
    const createdAt = new Date(Date.now() - 2 * HOUR);
    const expiresAt = new Date(Date.now() - HOUR);
    await insertPasswordReset(first.app.database, { userId, tokenHash: "a", createdAt, expiresAt });
    const kept = await issue(first, { id: userId });
    await first.close();
    const second = await startTestApp({ folder });
    try {
      const isOne = async () => {
        const rows = await second.app.database.all("SELECT reset_id FROM Password_Resets");
        return rows.length === 1;
      };
      await until(isOne, "the expired one is gone", 30_000);
      assert.equal((await reset(second, kept)).status, 204);
    } finally {
      await second.close();
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});
