import assert from "node:assert/strict";
import { createHmac, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { type Answer, type SendOptions, send, sendRaw } from "../support/client.ts";
import { spawnServer, startServer } from "../support/server-process.ts";
import { until } from "../support/wait.ts";

const API = "/api/v1";
/** Nothing listens there. */
const DEAD = "127.0.0.1:1";

let counter = 0;
/** A password by the rules that reads the same in JSON, in a URL, in a form and in SQL. */
const newCanary = () => `Canary-${++counter}-${randomBytes(8).toString("hex")}`;

/** Every secret that was planted or handed out, with what it is. A part of one tells on the whole. */
const planted = new Map<string, string>();

function plant(what: string): string {
  const canary = newCanary();
  planted.set(canary, what);
  return canary;
}

/** Of a token its signature is looked for, so that no part of it that others share is found. */
function plantToken(what: string, token: string): string {
  planted.set(token.split(".").at(-1) ?? token, what);
  return token;
}

/** The secrets that are found in `text`, in any case, as they are or in base64. */
function findIn(text: string, allowed: readonly string[] = []): string[] {
  const searched = text.toLowerCase();
  return [...planted]
    .filter(([secret]) => !allowed.some((told) => told.includes(secret)))
    .filter(([secret]) => {
      const encoded = Buffer.from(secret).toString("base64").slice(0, -4);
      return [secret, encoded].some((form) => searched.includes(form.toLowerCase()));
    })
    .map(([, what]) => what);
}

interface Seen {
  title: string;
  told: string;
  /** The secrets that this answer exists to hand out. */
  allowed: string[];
}

const answers: Seen[] = [];

const TOKENS = ["access_token", "refresh_token", "reset_token"];

function remember(title: string, answer: Answer, allowed: string[] = []): void {
  const told = `${JSON.stringify([...answer.headers])}\n${answer.bytes.toString("latin1")}`;
  const tokens = TOKENS.map((name) => answer.body?.[name]).filter(
    (token): token is string => typeof token === "string",
  );
  for (const token of tokens) plantToken(`a token of: ${title}`, token);
  answers.push({ title, told, allowed: [...allowed, ...tokens] });
}

const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });

const root = { email: "root@example.org", password: plant("the first administrator's password") };
const keys = {
  JWT_SECRET_KEY: plant("the JWT secret").padEnd(48, "-"),
  JWT_SECRET_KEY_PREVIOUS: plant("a former JWT secret").padEnd(48, "-"),
  AUDIT_KEY: plant("the audit key").padEnd(48, "-"),
};
const ENV = {
  ...keys,
  LOG_LEVEL: "debug",
  BOOTSTRAP_ADMIN_EMAIL: root.email,
  BOOTSTRAP_ADMIN_PASSWORD: root.password,
  AUTH_RATE_PER_ADDRESS: "0",
  MAX_UPLOAD_SIZE_MB: "1",
};

/** Runs a server to its end. Its output is kept whole. */
async function run(
  env: Record<string, string>,
  work: (url: string, folder: string) => Promise<void>,
) {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-canaries-"));
  const server = await startServer(folder, { ...ENV, ...env });
  try {
    await work(server.url, folder);
  } finally {
    server.kill("SIGTERM");
    await server.exit;
  }
  const stdout = server.lines.map((line) => JSON.stringify(line)).join("\n");
  return { folder, stdout, stderr: server.complaints() };
}

type Call = (
  title: string,
  status: number,
  method: string,
  path: string,
  options?: SendOptions,
  allowed?: string[],
) => Promise<Answer>;

function callerOf(url: string): Call {
  return async (title, status, method, path, options = {}, allowed = []) => {
    const answer = await send(url, method, path, options);
    remember(title, answer, allowed);
    assert.equal(answer.status, status, `${title}: ${answer.bytes.toString("utf8")}`);
    return answer;
  };
}

function login(call: Call, title: string, status: number, username: string, password: string) {
  const form = { grant_type: "password", username, password };
  return call(title, status, "POST", `${API}/auth/login`, { form });
}

interface Person {
  id: number;
  email: string;
  password: string;
  access: string;
  refresh: string;
}

/** Registers somebody, lets them in and logs them in, with every way to get it wrong between. */
async function enter(call: Call, admin: string, name: string): Promise<Person> {
  const email = `${name}@example.org`;
  const password = plant(`${name}'s password`);
  const json = { full_name: "Salma Haddad", email, password };
  const { body: user } = await call("register", 201, "POST", `${API}/auth/register`, { json });
  await call("register again", 400, "POST", `${API}/auth/register`, { json });
  const weak = { ...json, password: "short", full_name: password, username: password };
  await call("register with the password as a name", 422, "POST", `${API}/auth/register`, {
    json: { ...weak, full_name: `\u0000${password}` },
  });
  const unknown = { ...json, pass_phrase: plant("an unknown field"), role_id: 99 };
  await call("register with an unknown field", 422, "POST", `${API}/auth/register`, {
    json: unknown,
  });
  await login(call, "log in before activation", 403, email, password);
  const path = `${API}/users/${user.user_id}`;
  await call("a role", 200, "PATCH", path, { headers: bearer(admin), json: { role_id: 1 } });
  await call("activate", 200, "PATCH", `${path}/activate`, { headers: bearer(admin) });
  const { body: tokens } = await login(call, "log in", 200, email, password);
  return {
    id: user.user_id,
    email,
    password,
    access: tokens.access_token,
    refresh: tokens.refresh_token,
  };
}

async function wrongLogins(url: string, call: Call, { email, password }: Person): Promise<void> {
  await login(call, "a wrong password", 401, email, plant("a wrong password"));
  await login(call, "the password as the name", 401, password, password);
  await login(call, "the name as the password", 401, plant("a name that is a password"), email);
  const path = `${API}/auth/login`;
  const json = { username: email, password };
  await call("JSON at the login", 415, "POST", path, { json });
  await call("a password twice", 422, "POST", path, {
    form: [
      ["username", email],
      ["password", password],
      ["password", password],
    ],
  });
  await call("no password", 422, "POST", path, { form: { username: password } });
  const headers = { "Content-Type": "application/x-www-form-urlencoded" };
  const body = `password=${password}&username=%zz`;
  await send4xx(call, "a form that is badly encoded", "POST", path, { headers, body });
  let status = 401;
  for (let guess = 0; guess < 30 && status === 401; guess++) {
    const form = { username: "nobody@example.org", password: plant("a guess") };
    const answer = await send(url, "POST", path, { form });
    remember("a guess", answer);
    status = answer.status;
  }
  assert.equal(status, 429);
}

/** A request that some refusal answers, whichever. */
async function send4xx(
  call: Call,
  title: string,
  method: string,
  path: string,
  options: SendOptions,
): Promise<void> {
  await assert.rejects(call(title, 0, method, path, options), (error: Error) => {
    assert.match(error.message, /\n4\d\d !== 0/);
    return true;
  });
}

async function badBodies(call: Call, { access, password }: Person): Promise<void> {
  const path = `${API}/users/me`;
  const patch = (title: string, status: number, body: string, type = "application/json") =>
    call(title, status, "PATCH", path, {
      headers: { ...bearer(access), "Content-Type": type },
      body,
    });
  await patch("JSON that ends early", 422, `{"full_name": "${password}`);
  await patch("JSON with a word too many", 422, `{"full_name": ${password}}`);
  await patch("JSON that is a string", 422, `"${password}"`);
  await patch("a key that is the password's", 422, `{"__proto__": {"password": "${password}"}}`);
  await patch("a field of a wrong type", 422, `{"full_name": ["${password}"]}`);
  await patch("a name that is a password", 422, `{"username": "${password} ${password}"}`);
  await patch("a type that is not read", 415, `<password>${password}</password>`, "text/xml");
  await patch("a type that is a password", 415, "{}", password);
  await patch("a body that is too large", 413, `{"full_name": "${password.repeat(4000)}"}`);
}

async function oddRequests(url: string, call: Call, person: Person): Promise<void> {
  const { access, refresh, password } = person;
  const secret = plant("a query");
  const own = bearer(access);
  const query = `password=${secret}&access_token=${access}`;
  await call("secrets in the query", 200, "GET", `${API}/users/me?${query}`, { headers: own });
  await call("a bad query", 422, "GET", `${API}/docs/me?limit=${secret}`, { headers: own });
  await call("a bad parameter", 422, "GET", `${API}/docs/${secret}`, { headers: own });
  await call("an unknown path", 404, "GET", `/${secret}/${refresh}`);
  await call("a wrong method", 405, "DELETE", `${API}/auth/login?token=${refresh}`);
  const odd = { Cookie: `sid=${secret}`, "User-Agent": secret, Referer: `http://a/?p=${secret}` };
  await call("secrets in headers", 200, "GET", `${API}/users/me`, { headers: { ...own, ...odd } });
  await call("a bad request id", 204, "GET", "/", { headers: { "X-Request-Id": `${secret} x` } });
  await call("an origin", 204, "GET", "/", { headers: { Origin: `http://${secret}` } });
  const basic = `Basic ${Buffer.from(`${person.email}:${password}`).toString("base64")}`;
  const wrong = [basic, `Bearer ${secret}`, `Bearer ${secret}.${secret}.${secret}`, secret];
  for (const Authorization of [...wrong, `Bearer ${refresh}`, ...forged(person, secret)]) {
    await call("a wrong token", 401, "GET", `${API}/users/me`, { headers: { Authorization } });
  }
  for (const token of [access, secret]) {
    await call("no refresh token", 401, "POST", `${API}/auth/refresh`, { headers: bearer(token) });
  }
  for (const head of [
    `GET /${secret} HTTP/9.9\r\nHost: a\r\n\r\n`,
    `${secret} / HTTP/1.1\r\nHost: a\r\n\r\n`,
    `GET / HTTP/1.1\r\nHost: a\r\nBad ${secret}\r\n\r\n`,
    `GET / HTTP/1.1\r\nHost: a\r\nHost: ${secret}\r\nConnection: close\r\n\r\n`,
    `GET http://u:${secret}@a/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
    `GET /%zz${secret} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
    `GET / HTTP/1.1\r\nHost: a\r\nAuthorization: ${"x".repeat(20_000)}${secret}\r\n\r\n`,
    `POST ${API}/auth/register HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ${secret}\r\n\r\n`,
  ]) {
    answers.push({ title: head.slice(0, 20), told: await sendRaw(url, head), allowed: [] });
  }
}

/** Tokens that say the secret in their claims, signed with the right key, a wrong one and none. */
function forged({ id }: Person, secret: string): string[] {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const make = (header: object, key: string) => {
    const claims = { sub: `${id}`, rid: 99, type: "access", iat: secret, exp: 1, note: secret };
    const input = `${part(header)}.${part(claims)}`;
    return `${input}.${createHmac("sha256", key).update(input).digest("base64url")}`;
  };
  const tokens = [
    make({ alg: "HS256", typ: "JWT" }, keys.JWT_SECRET_KEY),
    make({ alg: "HS256", typ: "JWT", kid: secret }, secret),
    make({ alg: "none", kid: secret }, secret),
  ];
  return tokens.map((token) => `Bearer ${plantToken("a forged token", token)}`);
}

async function files(call: Call, { access }: Person): Promise<void> {
  const headers = bearer(access);
  const path = `${API}/docs/upload`;
  const data = plant("the content of a file");
  const file = { name: "file", filename: "letter.txt", type: "text/plain", data };
  const upload = (title: string, status: number, parts: SendOptions["multipart"] = []) =>
    call(title, status, "POST", path, { headers, multipart: parts });
  const { body } = await upload("upload", 201, [file]);
  await upload("upload once more", 409, [file]);
  const secret = plant("a field of an upload");
  await upload("an unknown field", 422, [file, { name: "password", value: secret }]);
  await upload("two files", 422, [file, { ...file, data: secret }]);
  await upload("too large", 413, [{ ...file, filename: "b", data: secret.repeat(60_000) }]);
  await send4xx(call, "a form that ends early", "POST", path, {
    headers: { ...headers, "Content-Type": "multipart/form-data; boundary=x" },
    body: `--x\r\nContent-Disposition: form-data; name="password"\r\n\r\n${secret}`,
  });
  const one = `${API}/docs/${body.doc_id}`;
  await call("download", 200, "GET", `${one}/download`, { headers }, [data]);
  const range = { ...headers, Range: `bytes=${secret}` };
  await call("a bad range", 200, "GET", `${one}/download`, { headers: range }, [data]);
  for (const rest of ["", "/status", "/download?password=x"]) {
    await call("somebody without a token", 401, "GET", one + rest);
  }
}

/** Three rotations, and then the first token again, which is a replay. */
async function rotations(call: Call, person: Person): Promise<void> {
  let token = person.refresh;
  for (let round = 0; round < 3; round++) {
    const { body } = await call("refresh", 200, "POST", `${API}/auth/refresh`, {
      headers: bearer(token),
    });
    token = body.refresh_token;
  }
  for (const old of [person.refresh, token, person.refresh]) {
    await call("replay", 401, "POST", `${API}/auth/refresh`, { headers: bearer(old) });
  }
}

async function adminActions(call: Call, admin: string, { id, password }: Person): Promise<void> {
  const headers = bearer(admin);
  const path = `${API}/users/${id}`;
  for (const list of ["users", "users/pending", "roles", "docs", "paths", "logs"]) {
    const answer = await send(adminUrl, "GET", `${API}/${list}`, { headers });
    remember(`the list of ${list}`, answer);
    assert.equal(answer.status, 200, list);
  }
  await call("a password by an admin", 422, "PATCH", path, { headers, json: { password } });
  await call("a role that is none", 422, "PATCH", path, { headers, json: { role_id: password } });
  const json = { full_path: "letters", description: "of 2026" };
  await call("make a path", 201, "POST", `${API}/paths`, { headers, json });
  await call("make it again", 409, "POST", `${API}/paths`, { headers, json });
}

let adminUrl = "";

/** Ways to change and to end what a login gave. Each is tried wrong and right. */
async function endings(call: Call, admin: string, name: string): Promise<void> {
  const person = await enter(call, admin, name);
  const headers = bearer(person.access);
  const change = async (title: string, status: number, json: Record<string, string>) =>
    attempt(title, status, `${API}/users/me/password`, { headers, json });
  const changed = plant("a changed password");
  const wrong = plant("a wrong current password");
  await change("a change with a wrong password", 0, {
    current_password: wrong,
    new_password: changed,
  });
  await change("a change to a bad one", 422, {
    current_password: person.password,
    new_password: plant("too long a password").repeat(4),
  });
  await change("a change", 204, { current_password: person.password, new_password: changed });

  const resets = `${API}/users/${person.id}/password-reset`;
  const issued = await attempt("a reset token", 201, resets, { headers: bearer(admin) });
  const token: string = issued.body?.reset_token ?? plant("a reset token that is none");
  const reset = (title: string, status: number, json: Record<string, string>) =>
    attempt(title, status, `${API}/auth/password-reset`, { json });
  const renewed = plant("a password by reset");
  await reset("a reset with no token", 0, {
    reset_token: plant("a wrong reset token"),
    new_password: renewed,
  });
  const long = plant("too long a new password").repeat(4);
  await reset("a reset to a bad password", 422, { reset_token: token, new_password: long });
  await reset("a reset", 204, { reset_token: token, new_password: renewed });
  await reset("the reset again", 0, { reset_token: token, new_password: renewed });

  const { body } = await login(call, "log in", 200, person.email, renewed);
  await attempt("log out", 204, `${API}/auth/logout`, { headers: bearer(body.access_token) });
  await attempt("log out again", 0, `${API}/auth/logout`, { headers: bearer(body.access_token) });
}

/** `status` 0 stands for any refusal. */
async function attempt(
  title: string,
  status: number,
  path: string,
  options: SendOptions,
): Promise<Answer> {
  const answer = await send(adminUrl, "POST", path, options);
  remember(title, answer);
  const isRight = status === 0 ? /^4\d\d$/.test(`${answer.status}`) : answer.status === status;
  assert.ok(isRight, `${title}: ${answer.status} ${answer.bytes.toString("utf8")}`);
  return answer;
}

describe("no planted secret comes out", () => {
  let output = { folder: "", stdout: "", stderr: "" };
  before(async () => {
    output = await run({ AUTH_RATE_PER_ACCOUNT: "6" }, async (url) => {
      adminUrl = url;
      const call = callerOf(url);
      const { body } = await login(call, "the admin", 200, root.email, root.password);
      const admin: string = body.access_token;
      const salma = await enter(call, admin, "salma");
      await wrongLogins(url, call, salma);
      await badBodies(call, salma);
      await oddRequests(url, call, salma);
      await files(call, salma);
      await adminActions(call, admin, salma);
      await rotations(call, salma);
      await endings(call, admin, "hassan");
    });
  });
  after(() => rm(output.folder, { recursive: true, force: true }));

  test("in standard output, at the level debug", () => {
    assert.match(output.stdout, /"message":"request"/);
    assert.deepEqual(findIn(output.stdout), []);
  });

  test("in standard error", () => {
    assert.equal(output.stderr, "");
  });

  test("in an answer, but the one that hands it out", () => {
    assert.ok(answers.length > 60, `${answers.length} answers`);
    for (const { title, told, allowed } of answers) {
      assert.deepEqual(findIn(told, allowed), [], title);
    }
  });

  test("in the audit trail", () => {
    const database = new DatabaseSync(join(output.folder, "nassaq.db"), { readOnly: true });
    const rows = database.prepare("SELECT * FROM Logs").all();
    database.close();
    const actions = new Set(rows.map((row) => row.action_type));
    for (const action of ["user_register", "login", "login_failed", "token_reuse"]) {
      assert.ok(actions.has(action), action);
    }
    for (const row of rows) {
      for (const [column, value] of Object.entries(row)) {
        const told = value instanceof Uint8Array ? Buffer.from(value).toString("latin1") : value;
        assert.deepEqual(findIn(String(told)), [], `${row.action_type}: ${column}`);
      }
    }
  });

  test("in any byte of the database", async () => {
    const names = (await readdir(output.folder)).filter((name) => name.startsWith("nassaq.db"));
    assert.ok(names.length > 0);
    for (const name of names) {
      const bytes = await readFile(join(output.folder, name), "latin1");
      assert.deepEqual(findIn(bytes), [], name);
    }
  });
});

test("no password of a part that is down comes out of a server that goes on without it", async (t) => {
  const [amqp, mongo, blob] = ["the broker's", "MongoDB's", "the storage's"].map((whose) =>
    plant(`${whose} password`),
  );
  const key = Buffer.from(blob ?? "").toString("base64");
  const env = {
    MESSAGE_BROKER_URL: `amqp://nassaq:${amqp}@${DEAD}/`,
    MONGO_HOST: "127.0.0.1",
    MONGO_PORT: "1",
    MONGO_USER: "nassaq",
    MONGO_PASS: mongo ?? "",
    BLOB_STORAGE_TYPE: "azure",
    BLOB_STORAGE_CONTAINER_NAME: "documents",
    BLOB_CONNECTION_STR: `DefaultEndpointsProtocol=http;AccountName=store;AccountKey=${key};BlobEndpoint=http://${DEAD}/store;`,
    SHUTDOWN_TIMEOUT: "1",
  };
  planted.set(key, "the storage's key");
  const from = answers.length;
  const output = await run(env, async (url) => {
    const call = callerOf(url);
    const { body } = await login(call, "the admin", 200, root.email, root.password);
    await call("not ready", 503, "GET", "/ready");
    const file = { name: "file", filename: "a.txt", data: "a" };
    await call("an upload", 500, "POST", `${API}/docs/upload`, {
      headers: bearer(body.access_token),
      multipart: [file],
    });
  });
  t.after(() => rm(output.folder, { recursive: true, force: true }));
  assert.match(output.stdout, /"level":"(warn|error)"/);
  assert.deepEqual(findIn(output.stdout + output.stderr), []);
  for (const { title, told, allowed } of answers.slice(from)) {
    assert.deepEqual(findIn(told, allowed), [], title);
  }
});

const SQL = {
  SQL_SERVER: DEAD.replace(":", ","),
  SQL_DB_NAME: "docs",
  SQL_USER: "nassaq",
  SQL_PASS: plant("SQL Server's password"),
  SQL_MAX_RETRIES: "1",
  SQL_RETRY_DELAY_BASE: "0",
  SQL_CONNECT_TIMEOUT: "1",
};
for (const [title, code, env] of [
  ["whose SQL Server is down", 69, SQL],
  ["whose settings are wrong", 78, { ...SQL, PORT: plant("a port"), MONGO_PASS: plant("a word") }],
] as const) {
  test(`no secret comes out of a server ${title}`, async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "nassaq-canaries-"));
    t.after(() => rm(folder, { recursive: true, force: true }));
    const child = spawnServer(folder, { ...ENV, ...env });
    assert.ok(child.stdout && child.stderr);
    const output = Promise.all([text(child.stdout), text(child.stderr)]);
    const ended = once(child, "exit").then(([exitCode]) => ({ exitCode }));
    let end: { exitCode: unknown } | undefined;
    void ended.then((result) => {
      end = result;
    });
    const { exitCode } = await until(() => end, "the end of the server");
    assert.equal(exitCode, code);
    const said = (await output).join("");
    assert.notEqual(said, "");
    assert.deepEqual(findIn(said), []);
  });
}
