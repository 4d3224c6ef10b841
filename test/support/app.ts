import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type App, startApp } from "../../src/app.ts";
import type { ConsumingBroker, Delivery } from "../../src/broker/broker.ts";
import { loadConfig } from "../../src/config.ts";
import { insertUser } from "../../src/data/users.ts";
import { verifyTrail } from "../../src/domain/audit-verify.ts";
import { createSessions } from "../../src/domain/sessions.ts";
import { createLogger } from "../../src/log.ts";
import { auditSecrets } from "../../src/parts.ts";
import { createJwt, type Jwt } from "../../src/security/jwt.ts";
import { readOrMakeSecret } from "../../src/security/secret-file.ts";
import { assertDocumented } from "../openapi/validator.ts";
import { type Answer, open, type SendOptions, send } from "./client.ts";
import { coreOf } from "./core.ts";
import { ENGINES, type Engine, SQL_SERVER_SKIPPED } from "./engines.ts";
import { partsFromEnvironment } from "./parts.ts";
import { until } from "./wait.ts";

/** Everybody's password, and its hash at cost 4. */
export const PASSWORD = "Correct horse 1!";
const PASSWORD_HASH = "$2b$04$y1jMazE6jswaYk8lcY5cVepSB3Bp1YwnUJpOatP7FmZnH2tXzh8te";
const SECRET = "a secret of more than 32 bytes for tests";

export const ADMIN = 99;
export const USER = 1;

export interface Person {
  id: number;
  email: string;
  username: string;
  fullName: string;
  /** An access and a refresh token of a session of theirs. */
  token: string;
  refreshToken: string;
}

/** The people that every app has ready. `inactive` has a role and a token and is not (any more) let in. */
export type Role = "admin" | "user" | "other" | "inactive";

const ROLES: Record<Role, { roleId: number | null; isActive: boolean }> = {
  admin: { roleId: ADMIN, isActive: true },
  user: { roleId: USER, isActive: true },
  other: { roleId: USER, isActive: true },
  inactive: { roleId: USER, isActive: false },
};

export interface CallOptions extends SendOptions {
  /** Who calls: one of the people, or anybody's token. */
  as?: Role | Person | string | undefined;
}

export interface LogLine extends Record<string, unknown> {
  level: string;
  message: string;
}

export interface TestApp {
  readonly url: string;
  readonly app: App;
  readonly queue: string;
  readonly folder: string;
  readonly lines: LogLine[];
  readonly jwt: Jwt;
  /** Goes with the real time, plus `offset` milliseconds. */
  readonly clock: { offset: number };
  call(method: string, path: string, options?: CallOptions): Promise<Answer>;
  /** As `call`, with a body that the test writes itself. */
  open(method: string, path: string, options: CallOptions): ReturnType<typeof open>;
  as(role: Role): Promise<Person>;
  /** A new person, with a session. */
  person(account?: { roleId?: number | null; isActive?: boolean }): Promise<Person>;
  /** Takes what is in the queue until messages with `count` ids have come; fails when they don't. */
  takeMessages(count: number): Promise<Delivery[]>;
  close(): Promise<void>;
}

export interface TestOptions {
  env?: Record<string, string>;
  passwordCost?: number;
  /** Kept after `close`, with the database in a file; else a new one, removed, and the database in memory. */
  folder?: string;
}

/** Boots the whole app on a free port, on embedded parts or those that the environment names. */
export async function startTestApp(
  options: TestOptions = {},
  engine: Engine = ENGINES[0],
): Promise<TestApp> {
  const run = randomBytes(6).toString("hex");
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), "nassaq-test-")));
  const parts = partsFromEnvironment(run);
  const engineParts = await engine.open();
  const lines: LogLine[] = [];
  const clock = { offset: 0 };
  const now = () => new Date(Date.now() + clock.offset);
  const config = loadConfig({
    ENVIRONMENT: "test",
    HOST: "127.0.0.1",
    PORT: "0",
    DATA_DIR: folder,
    JWT_SECRET_KEY: SECRET,
    AUTH_RATE_PER_ADDRESS: "0",
    AUTH_RATE_PER_ACCOUNT: "0",
    LOG_LEVEL: "debug",
    EMBEDDED_WORKER: "no",
    ...parts.env,
    ...engineParts.env,
    ...options.env,
  });
  const jwt = createJwt({
    secret: config.JWT_SECRET_KEY ?? readOrMakeSecret(folder),
    previous: [],
  });
  const log = createLogger({
    level: config.LOG_LEVEL,
    readable: false,
    write: (line) => lines.push(JSON.parse(line)),
  });
  const app = await startApp(config, log, {
    now,
    passwordCost: options.passwordCost ?? 4,
    ...(options.folder === undefined ? { databaseFile: ":memory:" } : {}),
  });
  // Whatever a test does, the audit trail is whole when the server has stopped.
  let trail: Awaited<ReturnType<typeof verifyTrail>> | undefined;
  const closeDatabase = app.database.close;
  app.database.close = async () => {
    trail = await verifyTrail(app.database, auditSecrets(config));
    await closeDatabase();
  };
  const sessions = createSessions(coreOf(app.database, now), {
    jwt,
    accessTtlSeconds: config.ACCESS_TOKEN_EXPIRE_MINUTES * 60,
    refreshTtlSeconds: config.REFRESH_TOKEN_EXPIRE_DAYS * 24 * 60 * 60,
  });
  const people = new Map<Role, Promise<Person>>();
  const secrets = new Set<string>([PASSWORD, PASSWORD_HASH, SECRET]);
  let count = 0;

  async function person(
    account: { roleId?: number | null; isActive?: boolean } = {},
  ): Promise<Person> {
    const name = `person-${++count}-${randomBytes(2).toString("hex")}`;
    const row = {
      email: `${name}@example.com`,
      username: name,
      fullName: `Person Number ${count}`,
    };
    const { roleId = USER, isActive = true } = account;
    const id = await insertUser(app.database, {
      ...row,
      roleId,
      isActive,
      passwordHash: PASSWORD_HASH,
      createdAt: now(),
    });
    const tokens = await sessions.open(app.database, { userId: id, roleId });
    secrets.add(tokens.access_token).add(tokens.refresh_token);
    return { id, ...row, token: tokens.access_token, refreshToken: tokens.refresh_token };
  }

  function as(role: Role): Promise<Person> {
    const known = people.get(role) ?? person(ROLES[role]);
    people.set(role, known);
    return known;
  }

  async function authorization(who: CallOptions["as"]): Promise<Record<string, string>> {
    if (who === undefined) return {};
    const token =
      typeof who === "object" ? who.token : who in ROLES ? (await as(who as Role)).token : who;
    return { Authorization: `Bearer ${token}` };
  }

  return {
    url: app.url,
    app,
    queue: config.OCR_QUEUE_NAME,
    folder,
    lines,
    jwt,
    clock,
    as,
    person,

    async call(method, path, { as: who, ...rest } = {}) {
      const headers = { ...(await authorization(who)), ...rest.headers };
      const answer = await send(app.url, method, path, { ...rest, headers });
      checkAlways(answer);
      assertDocumented({ ...answer, method, path, body: answer.bytes });
      for (const name of ["access_token", "refresh_token", "reset_token"]) {
        if (typeof answer.body?.[name] === "string") secrets.add(answer.body[name]);
      }
      return answer;
    },

    open(method, path, { headers = {} }) {
      return open(app.url, method, path, headers);
    },

    async takeMessages(wanted) {
      const taken: Delivery[] = [];
      const distinct = () => new Set(taken.map(({ id }) => id)).size;
      const all = Promise.withResolvers<void>();
      const broker = app.broker as ConsumingBroker;
      const consumer = await broker.consume(
        config.OCR_QUEUE_NAME,
        async (delivery) => {
          taken.push(delivery);
          if (distinct() >= wanted) all.resolve();
        },
        { prefetch: 10 },
      );
      const limit = new AbortController();
      const late = sleep(60_000, undefined, { signal: limit.signal }).catch(() => {});
      await Promise.race([all.promise, late]);
      limit.abort();
      await consumer.cancel();
      assert.ok(distinct() >= wanted, `${distinct()} of ${wanted} messages came`);
      return taken;
    },

    async close() {
      await app.stop();
      if (options.folder === undefined) {
        await rm(folder, { recursive: true });
        await parts.remove();
      }
      await engineParts.remove();
      const logged = JSON.stringify(lines);
      for (const secret of secrets) assert.ok(!logged.includes(secret), "a secret in the log");
      assert.ok(trail?.isWhole !== false, trail?.lines.join("\n"));
    },
  };
}

/** What every answer of the server keeps, whatever was asked. */
function checkAlways(answer: Answer): void {
  assert.match(answer.headers.get("x-request-id") ?? "", /^[\w.:-]{1,128}$/);
  assert.equal(answer.headers.get("x-content-type-options"), "nosniff");
  assert.equal(answer.headers.get("server"), null);
  assert.equal(answer.headers.get("x-powered-by"), null);
  if (answer.status === 401) assert.equal(answer.headers.get("www-authenticate"), "Bearer");
  if (answer.status === 201) assert.ok(answer.headers.get("location"));
  if (answer.status === 405) assert.ok(answer.headers.get("allow"));
  if (answer.status === 429 || answer.status === 503) {
    assert.match(answer.headers.get("retry-after") ?? "", /^[1-9]\d*$/);
  }
  if (answer.status < 400 || answer.bytes.length === 0 || answer.status === 503) return;
  assert.deepEqual(Object.keys(answer.body), ["detail"]);
  assert.equal(Array.isArray(answer.body.detail), answer.status === 422);
  if (answer.status === 422) for (const issue of answer.body.detail) checkIssue(issue);
  else assert.ok(answer.body.detail.length > 0);
}

function checkIssue(issue: Record<string, unknown>): void {
  assert.deepEqual(Object.keys(issue), ["type", "loc", "msg"]);
  assert.match(String(issue.type), /^[a-z_]+$/);
  assert.ok(Array.isArray(issue.loc) && ["body", "query", "path"].includes(issue.loc[0]));
  assert.ok(typeof issue.msg === "string" && issue.msg.length > 0);
}

type Work = (app: TestApp, t: TestContext) => Promise<void>;

export interface Suite {
  /** A test on the app that the tests of the suite share. */
  test(title: string, work: Work): void;
  /** A test on an app of its own. These run after the others, when the shared app is gone. */
  testAlone(title: string, options: TestOptions, work: Work): void;
}

/** Runs the suite on the embedded engine, and on SQL Server when there is one; else says how many tests that leaves out. */
export function apiSuite(name: string, define: (suite: Suite) => void): void {
  const together: { title: string; work: Work }[] = [];
  const alone: { title: string; options: TestOptions; work: Work }[] = [];
  define({
    test: (title, work) => void together.push({ title, work }),
    testAlone: (title, options, work) => void alone.push({ title, options, work }),
  });
  for (const engine of ENGINES) {
    describe(`${name}, on ${engine.name}`, () => {
      if (together.length > 0) describe("one server", () => testTogether(engine, together));
      for (const { title, options, work } of alone) {
        test(title, async (t) => {
          const app = await startTestApp(options, engine);
          try {
            await work(app, t);
          } finally {
            await app.close();
          }
        });
      }
    });
  }
  if (SQL_SERVER_SKIPPED === undefined) return;
  const left = together.length + alone.length;
  test(`${name}, on SQL Server: ${left} tests`, { skip: SQL_SERVER_SKIPPED }, () => {});
}

function testTogether(engine: Engine, tests: readonly { title: string; work: Work }[]): void {
  let shared: TestApp | undefined;
  before(async () => {
    shared = await startTestApp({}, engine);
  });
  after(() => shared?.close());
  for (const { title, work } of tests) test(title, (t) => work(shared as TestApp, t));
}

/** Waits until the server has sealed its audit trail: it opens no transaction by itself until something is recorded again. */
export async function trailSealed({ app: { database } }: TestApp): Promise<void> {
  const sql = "SELECT log_id FROM Logs WHERE chain_epoch IS NOT NULL AND chain_sequence IS NULL";
  await until(async () => !(await database.first(sql)), "the audit trail to be sealed");
}
