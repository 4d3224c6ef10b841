import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import tls from "node:tls";
import sql from "mssql";
import {
  type Database,
  escapeLike,
  ForeignKeyViolation,
  OutcomeUnknown,
  UniqueViolation,
} from "../../src/data/database.ts";
import { openSqlServer } from "../../src/data/sqlserver.ts";
import type { SqlServerOptions } from "../../src/data/sqlserver-connection.ts";
import { failureOf, typedError } from "../../src/data/sqlserver-errors.ts";
import { AppError } from "../../src/errors.ts";
import { silent, testServer } from "../support/sqlserver.ts";
import type { Call } from "../support/tds/protocol.ts";
import {
  ANONYMOUS_CIPHERS,
  type Answer,
  type Session,
  type StandIn,
  startStandIn,
  type TransactionStep,
} from "../support/tds/server.ts";
import { assertTsql } from "../support/tsql.ts";

const ONE: Answer = { result: { columns: [{ name: "one", type: "bigint" }], rows: [[1]] } };
const UNAVAILABLE = { name: "AppError", code: "unavailable" };

interface Script {
  /** The answer to each statement but the pool's own check; `ONE` by default. */
  call?: (call: Call) => Answer | Promise<Answer>;
  /** The answer to the pool's own check. */
  check?: () => Answer;
  transaction?: (step: TransactionStep) => Answer;
}

/** A session that answers by `script` and knows whether a transaction is open in it. */
function scripted(script: Script, open: Set<Session>): Session {
  const session: Session = {
    call: (call) => (call.text === "SELECT 1;" ? script.check?.() : script.call?.(call)) ?? ONE,
    transaction(step) {
      const answer = script.transaction?.(step) ?? {};
      if (step === "begin") open.add(session);
      else if (typeof answer !== "string") open.delete(session);
      return answer;
    },
    end: () => void open.delete(session),
  };
  return session;
}

/** A stand-in that answers by `script`, which the test may change, and a Database on it; both closed after the test. */
async function connected(
  t: TestContext,
  script: Script = {},
  settings: Partial<SqlServerOptions> = {},
  timeouts = { acquire: 10_000, request: 30_000 },
): Promise<{
  database: Database;
  standIn: StandIn;
  open: Set<Session>;
  options: SqlServerOptions;
}> {
  const open = new Set<Session>();
  const standIn = await startStandIn({
    open: () => scripted(script, open),
    encrypt: settings.encrypt ?? false,
  });
  const options: SqlServerOptions = {
    ...testServer("nassaq"),
    server: "127.0.0.1",
    port: standIn.port,
    instance: undefined,
    encrypt: false,
    maxRetries: 2,
    retryDelayBase: 0.01,
    log: silent,
    ...settings,
  };
  const database = await openSqlServer(options, timeouts);
  t.after(async () => {
    await database.close();
    await standIn.close();
  });
  return { database, standIn, open, options };
}

describe("SQL Server: what is bound and what comes back", () => {
  it("binds text as NVARCHAR, integers as BIGINT, booleans as BIT, dates as DATETIME2 in UTC, and types nulls", async (t) => {
    const calls: Call[] = [];
    const { database } = await connected(t, {
      call(call) {
        calls.push(call);
        return ONE;
      },
    });
    const when = new Date("2026-07-01T00:00:00.789Z");
    await database.all("SELECT @text, @long, @number, @flag, @when, @nothing", {
      text: "نص 😀",
      long: "x".repeat(4001),
      number: -42,
      flag: true,
      when,
      nothing: null,
    });
    assert.deepEqual(calls[0]?.params, {
      text: { type: "nvarchar", cell: "نص 😀" },
      long: { type: "nvarchar", cell: "x".repeat(4001) },
      number: { type: "bigint", cell: -42 },
      flag: { type: "bit", cell: true },
      when: { type: "datetime2", cell: when },
      nothing: { type: "nvarchar", cell: null },
    });
  });

  it("sends an escaped bracket of a pattern as a set, and no other text changed", async (t) => {
    const calls: Call[] = [];
    const { database } = await connected(t, {
      call(call) {
        calls.push(call);
        return ONE;
      },
    });
    const pattern = escapeLike("\\[a]_%");
    await database.all("SELECT a FROM B WHERE a LIKE @pattern ESCAPE '\\' OR a = @text", {
      pattern,
      text: pattern,
    });
    assert.deepEqual(calls[0]?.params, {
      pattern: { type: "nvarchar", cell: "\\\\[[]a]\\_\\%" },
      text: { type: "nvarchar", cell: pattern },
    });
  });

  it("renders identity and paging as T-SQL", async (t) => {
    const texts: string[] = [];
    const identity: Answer = { result: { columns: [{ name: "id", type: "bigint" }], rows: [[7]] } };
    const { database } = await connected(t, {
      call({ text }) {
        texts.push(text);
        return identity;
      },
    });
    assert.equal(
      await database.insert("Roles", { role_name: "x", description: null }, "role_id"),
      7,
    );
    await database.page("SELECT a FROM B ORDER BY a", {}, { skip: 5, limit: 10 });
    assert.deepEqual(texts, [
      "INSERT INTO Roles (role_name, description) OUTPUT INSERTED.role_id AS id VALUES (@role_name, @description)",
      "SELECT a FROM B ORDER BY a OFFSET @page_skip ROWS FETCH NEXT @page_limit ROWS ONLY",
    ]);
    for (const text of texts) assertTsql(text);
  });
});

describe("SQL Server: failures of statements", () => {
  /** The driver's error for an error message of the server. */
  function requestError(number: number, code?: string): sql.RequestError {
    const original = Object.assign(new Error("message"), { info: { number }, code });
    return new (
      sql.RequestError as unknown as new (
        error: Error,
        code: string,
      ) => sql.RequestError
    )(original, "EREQUEST");
  }

  it("knows the driver's errors by number and by code", () => {
    assert.ok(typedError(requestError(2627)) instanceof UniqueViolation);
    assert.ok(typedError(requestError(2601)) instanceof UniqueViolation);
    assert.ok(typedError(requestError(547)) instanceof ForeignKeyViolation);
    for (const number of [
      1204, 1205, 1222, 4060, 10928, 10929, 40501, 40613, 42108, 42109, 49918, 49919, 49920,
    ]) {
      assert.equal(failureOf(typedError(requestError(number))), "undone", String(number));
    }
    for (const number of [233, 997, 4221, 10060, 40143, 40197, 40540]) {
      assert.equal(failureOf(typedError(requestError(number))), "lost", String(number));
    }
    for (const code of ["ESOCKET", "ETIMEOUT", "ECLOSE", "ECONNRESET", "EPIPE"]) {
      assert.equal(failureOf(typedError(new sql.RequestError("x", code as "ESOCKET"))), "lost");
      assert.equal(
        failureOf(typedError(new sql.ConnectionError("x", code as "ESOCKET"))),
        "unconnected",
      );
    }
    assert.equal(failureOf(typedError(new sql.ConnectionError("x", "ELOGIN"))), "refused");
    assert.equal(failureOf(typedError(new sql.RequestError("x", "EREQUEST"))), "lost");
    const misuse = new sql.RequestError("x", "EARGS");
    assert.equal(typedError(misuse), misuse);
    const syntax = requestError(102);
    assert.equal(typedError(syntax), syntax);
    const late = typedError(new Error("no connection in time"));
    assert.ok(
      late instanceof AppError && late.code === "unavailable" && late.headers["Retry-After"],
    );
    assert.equal(failureOf(late), undefined);
  });

  it("finds the number in any of several errors for one statement", () => {
    const last = Object.assign(requestError(3621), { precedingErrors: [requestError(2627)] });
    assert.ok(typedError(last) instanceof UniqueViolation);
  });

  it("repeats a whole transaction that was chosen as deadlock victim", async (t) => {
    const statements: string[] = [];
    let deadlocks = 2;
    const { database, open } = await connected(t, {
      call({ text }) {
        statements.push(text);
        return text === "UPDATE B SET b = 1" && deadlocks-- > 0
          ? { error: 1205, rolledBack: true }
          : { rowsAffected: 1 };
      },
    });
    const result = await database.transaction(async (tx) => {
      await tx.run("UPDATE A SET a = 1");
      return await tx.run("UPDATE B SET b = 1");
    });
    assert.equal(result, 1);
    assert.deepEqual(
      statements,
      Array(3).fill(["UPDATE A SET a = 1", "UPDATE B SET b = 1"]).flat(),
    );
    assert.equal(open.size, 0);
  });

  it("repeats a read whose answer was lost, and never a write", async (t) => {
    let drops = 1;
    let writes = 0;
    const { database } = await connected(t, {
      call({ text }) {
        if (text.startsWith("SELECT")) return drops-- > 0 ? "drop" : ONE;
        writes++;
        return "drop";
      },
    });
    assert.deepEqual(await database.all("SELECT 1 AS one"), [{ one: 1 }]);
    await assert.rejects(database.run("DELETE FROM A"), UNAVAILABLE);
    await assert.rejects(database.insert("A", { a: 1 }, "id"), UNAVAILABLE);
    assert.equal(writes, 2);
  });

  it("takes an encrypted connection that the server ended in good order for a lost one", async (t) => {
    const { DEFAULT_CIPHERS } = tls;
    tls.DEFAULT_CIPHERS = ANONYMOUS_CIPHERS;
    t.after(() => {
      tls.DEFAULT_CIPHERS = DEFAULT_CIPHERS;
    });
    let ends = 1;
    const script: Script = { call: () => (ends-- > 0 ? "end" : ONE) };
    const { database } = await connected(t, script, { encrypt: true });
    assert.deepEqual(await database.all("SELECT 1 AS one"), [{ one: 1 }]);
    assert.equal(ends, -1);
    ends = Number.POSITIVE_INFINITY;
    await assert.rejects(database.run("DELETE FROM A"), UNAVAILABLE);
    await assert.rejects(
      database.transaction((tx) => tx.run("DELETE FROM A")),
      UNAVAILABLE,
    );
  });

  it("repeats a write that the server says it did not do, but not for ever", async (t) => {
    let writes = 0;
    const { database } = await connected(t, {
      call() {
        writes++;
        return { error: 40501 };
      },
    });
    await assert.rejects(database.run("DELETE FROM A"), UNAVAILABLE);
    assert.equal(writes, 3);
  });

  it("sends of a transaction its begin, its statements and its commit, and nothing else", async (t) => {
    const sent: string[] = [];
    const { database } = await connected(t, {
      call({ text }) {
        sent.push(text);
        return ONE;
      },
      check() {
        sent.push("check");
        return ONE;
      },
      transaction(step) {
        sent.push(step);
        return {};
      },
    });
    await database.transaction((tx) => tx.all("SELECT 1 AS one"), { durable: false });
    await database.transaction((tx) => tx.all("SELECT 1 AS one"));
    // The first one is a single statement.
    assert.deepEqual(sent, ["SELECT 1 AS one", "begin", "SELECT 1 AS one", "commit"]);
  });

  it("does not repeat after a commit whose answer was lost, and says that nobody knows", async (t) => {
    let runs = 0;
    const { database } = await connected(t, {
      transaction: (step) => (step === "commit" ? "drop" : {}),
    });
    const failing = database.transaction(async () => {
      runs++;
    });
    await assert.rejects(
      failing,
      (error: AppError) => error.cause instanceof OutcomeUnknown && error.code === "unavailable",
    );
    assert.equal(runs, 1);
  });

  it("does not repeat a transaction that its callback gave up", async (t) => {
    let runs = 0;
    const { database, open } = await connected(t);
    const failing = database.transaction(async () => {
      runs++;
      throw new Error("no");
    });
    await assert.rejects(failing, { message: "no" });
    assert.deepEqual([runs, open.size], [1, 0]);
  });
});

describe("SQL Server: the pool", () => {
  it("has no more connections than allowed, and says 503 when none is free in time", async (t) => {
    const release = Promise.withResolvers<void>();
    const { database, standIn } = await connected(
      t,
      {
        call: async ({ text }) =>
          text === "SELECT 2 AS two" ? release.promise.then(() => ONE) : ONE,
      },
      { poolMax: 2 },
      { acquire: 200, request: 30_000 },
    );
    const busy = [1, 2].map(() => database.all("SELECT 2 AS two"));
    await assert.rejects(database.all("SELECT 1 AS one"), (error: AppError) => {
      return error.code === "unavailable" && Number(error.headers["Retry-After"]) > 0;
    });
    assert.equal(standIn.connections(), 2);
    release.resolve();
    await Promise.all(busy);
    await database.ping();
  });

  it("returns the connection of a statement that timed out", async (t) => {
    const { database } = await connected(
      t,
      { call: ({ text }) => (text === "DELETE FROM A" ? "hang" : ONE) },
      { poolMax: 1 },
      { acquire: 10_000, request: 200 },
    );
    await assert.rejects(database.run("DELETE FROM A"), UNAVAILABLE);
    await database.ping();
  });

  it("returns the connection of a transaction that timed out, without its open transaction", async (t) => {
    let hangs = 1;
    const { database, open } = await connected(
      t,
      {
        call: ({ text }) =>
          text === "DELETE FROM A" && hangs-- > 0 ? "hang" : { rowsAffected: 1 },
      },
      { poolMax: 1 },
      { acquire: 10_000, request: 200 },
    );
    assert.equal(await database.transaction((tx) => tx.run("DELETE FROM A")), 1);
    assert.equal(open.size, 0);
    hangs = Number.POSITIVE_INFINITY;
    await assert.rejects(
      database.transaction((tx) => tx.run("DELETE FROM A")),
      UNAVAILABLE,
    );
    assert.equal(await database.run("DELETE FROM B"), 1);
    assert.equal(open.size, 0);
  });

  it("gives back no connection whose rollback was not confirmed", async (t) => {
    const { database, standIn } = await connected(
      t,
      { transaction: (step) => (step === "rollback" ? "hang" : {}) },
      { poolMax: 1 },
      { acquire: 10_000, request: 200 },
    );
    const failing = database.transaction(async () => {
      throw new Error("no");
    });
    await assert.rejects(failing, { message: "no" });
    const before = standIn.logins.length;
    await database.ping();
    assert.equal(standIn.logins.length, before + 1);
  });

  it("notices a connection that died while idle before it is used", async (t) => {
    const { database, standIn } = await connected(t, {}, { poolMax: 1 });
    await database.ping();
    standIn.dropAll();
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(await database.run("DELETE FROM A"), 1);
  });

  it("asks the server before use only when a connection was idle for more than a second", async (t) => {
    let checks = 0;
    const script: Script = {
      check() {
        checks++;
        return ONE;
      },
    };
    const { database, standIn } = await connected(t, script, { poolMax: 1 });
    for (let n = 0; n < 5; n++) await database.transaction((tx) => tx.run("DELETE FROM A"));
    assert.equal(checks, 0);
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    await database.ping();
    await database.ping();
    assert.equal(checks, 1);

    // What the socket does not show: the server has forgotten the session.
    const before = standIn.logins.length;
    script.check = () => "drop";
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    assert.equal(await database.run("DELETE FROM A"), 1);
    assert.equal(standIn.logins.length, before + 1);
  });

  it("replaces aged connections, and drops no query under way", async (t) => {
    const started = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    const { database, standIn } = await connected(
      t,
      {
        async call({ text }) {
          if (text !== "SELECT 2 AS two") return ONE;
          started.resolve();
          return release.promise.then(() => ONE);
        },
      },
      { poolMax: 1, poolRecycleSeconds: 0.05 },
    );
    const slow = database.all("SELECT 2 AS two");
    await started.promise;
    const before = standIn.logins.length;
    await new Promise((resolve) => setTimeout(resolve, 150));
    release.resolve();
    assert.deepEqual(await slow, [{ one: 1 }]);
    await database.ping();
    // On a slow machine the new one ages too before it is used.
    assert.ok(standIn.logins.length > before);
  });
});
