import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { inspect } from "node:util";
import fc from "fast-check";
import sql from "mssql";
import { DatabaseUnreachable } from "../../src/data/database.ts";
import { openSqlServer } from "../../src/data/sqlserver.ts";
import {
  connectionString,
  describe as describeServer,
  type SqlServerOptions,
} from "../../src/data/sqlserver-connection.ts";
import { createLogger, describeError } from "../../src/log.ts";
import { silent, testServer } from "../support/sqlserver.ts";
import { startStandIn } from "../support/tds/server.ts";

const PASSWORD = "p;a=s's\"{wö}rd كلمة";

function options(port: number, changes: Partial<SqlServerOptions> = {}): SqlServerOptions {
  return {
    ...testServer("nassaq"),
    server: "127.0.0.1",
    port,
    instance: undefined,
    user: "nassaq",
    password: PASSWORD,
    encrypt: false,
    connectTimeoutSeconds: 5,
    maxRetries: 3,
    retryDelayBase: 0.1,
    ...changes,
  };
}

/** A logger that keeps its lines, as they would go to stdout. */
function recording() {
  const lines: string[] = [];
  return {
    lines,
    log: createLogger({ level: "debug", readable: false, write: (line) => lines.push(line) }),
    waits: () =>
      lines
        .map((line) => JSON.parse(line))
        .map(({ attempt, delay_seconds }) => [attempt, delay_seconds]),
  };
}

async function endpoint(t: TestContext, onSocket: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    onSocket(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, "close");
  });
  return (server.address() as AddressInfo).port;
}

/** A port on which nobody listens. */
async function closedPort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

async function failure(settings: SqlServerOptions): Promise<DatabaseUnreachable> {
  const error = await openSqlServer(settings).then(
    () => assert.fail("It connected"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof DatabaseUnreachable);
  return error;
}

function assertNoSecret(...texts: string[]) {
  for (const text of texts) assert.ok(!text.includes(PASSWORD) && !text.includes("wö}rd"));
}

describe("SQL Server: the computed connection string", () => {
  it("gives the driver back every character of user, password and database", () => {
    const text = fc.string({ unit: "binary", maxLength: 40 });
    const nasty = fc.string({
      unit: fc.constantFrom(";", "=", "{", "}", "'", '"', " ", "\\", "ا", "😀", "\t"),
      maxLength: 20,
    });
    fc.assert(
      fc.property(fc.oneof(text, nasty), (password) => {
        const parsed = sql.ConnectionPool.parseConnectionString(
          connectionString(options(1433, { password, name: password })),
        );
        assert.equal(parsed.password, password);
        assert.equal(parsed.database, password);
        assert.equal(parsed.user, "nassaq");
      }),
      { numRuns: 500 },
    );
  });

  it("has the parts that the configuration names, with host and port or host and instance", () => {
    const settings = options(1434, { server: "db.example", password: 'a"b;c' });
    assert.equal(
      connectionString(settings),
      'Server="db.example,1434";Database="nassaq";User Id="nassaq";Password="a""b;c";Encrypt=false;TrustServerCertificate=true',
    );
    const named = {
      ...settings,
      instance: "SQLEXPRESS",
      encrypt: true,
      trustServerCertificate: false,
    };
    const parsed = sql.ConnectionPool.parseConnectionString(connectionString(named));
    assert.equal(parsed.server, "db.example");
    assert.equal(parsed.options.instanceName, "SQLEXPRESS");
    assert.equal(parsed.options.encrypt, true);
    assert.equal(parsed.options.trustServerCertificate, false);
    assert.equal(describeServer(named), "SQL Server (db.example\\SQLEXPRESS, nassaq)");
    assert.equal(describeServer(settings), "SQL Server (db.example:1434, nassaq)");
  });

  it("brings user, password and database to the server unchanged", async (t) => {
    const standIn = await startStandIn({
      open: () => ({ call: () => ({}), transaction: () => ({}), end() {} }),
    });
    t.after(() => standIn.close());
    const database = await openSqlServer(options(standIn.port, { log: silent }));
    await database.close();
    assert.deepEqual(standIn.logins[0], { user: "nassaq", password: PASSWORD, database: "nassaq" });
  });
});

describe("SQL Server: a server that can't be reached", () => {
  const cases: [name: string, port: (t: TestContext) => Promise<number>][] = [
    ["refuses", () => closedPort()],
    ["resets", (t) => endpoint(t, (socket) => socket.resetAndDestroy())],
    ["hangs", (t) => endpoint(t, () => {})],
    [
      "talks nonsense",
      (t) => endpoint(t, (socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")),
    ],
  ];
  for (const [name, port] of cases) {
    it(`that ${name} is tried again after base¹, base², base³ seconds, each a log line, and then given up`, async (t) => {
      const { lines, log, waits } = recording();
      const error = await failure(options(await port(t), { log, connectTimeoutSeconds: 0.3 }));
      assert.equal(error.refused, false);
      assert.deepEqual(
        waits(),
        [1, 2, 3].map((attempt) => [attempt, 0.1 ** attempt]),
      );
      assertNoSecret(...lines, inspect(error, { depth: 20 }), JSON.stringify(describeError(error)));
    });
  }

  it("is not tried again when it refuses the login", async (t) => {
    const standIn = await startStandIn({ open: () => assert.fail(), login: () => 18456 });
    t.after(() => standIn.close());
    const { lines, log } = recording();
    const error = await failure(options(standIn.port, { log }));
    assert.equal(error.refused, true);
    assert.deepEqual([standIn.logins.length, lines.length], [1, 0]);
    assertNoSecret(inspect(error, { depth: 20 }), JSON.stringify(describeError(error)));
  });

  it("is not tried again when it can't encrypt and has to", async (t) => {
    const standIn = await startStandIn({ open: () => assert.fail() });
    t.after(() => standIn.close());
    const error = await failure(options(standIn.port, { encrypt: true, log: silent }));
    assert.deepEqual([error.refused, standIn.logins.length], [true, 0]);
  });

  it("is tried again while a paused database wakes up, with the number in the log", async (t) => {
    const refusals = [40613, 4060];
    const standIn = await startStandIn({
      open: () => ({ call: () => ({}), transaction: () => ({}), end() {} }),
      login: () => refusals.shift(),
    });
    t.after(() => standIn.close());
    const { lines, log, waits } = recording();
    const database = await openSqlServer(options(standIn.port, { log }));
    await database.close();
    assert.deepEqual(waits(), [
      [1, 0.1],
      [2, 0.1 ** 2],
    ]);
    assert.deepEqual(
      lines.map((line) => JSON.parse(line).number),
      [40613, 4060],
    );
  });

  it("is given up when the database is named wrongly for ever", async (t) => {
    const standIn = await startStandIn({ open: () => assert.fail(), login: () => 4060 });
    t.after(() => standIn.close());
    await failure(options(standIn.port, { log: silent, retryDelayBase: 0.01 }));
    assert.equal(standIn.logins.length, 4);
  });
});

it("SQL Server: lost while running, requests fail with 503, and it heals without a restart", async (t) => {
  const one = { result: { columns: [{ name: "one", type: "bigint" as const }], rows: [[1]] } };
  const open = () => ({ call: () => one, transaction: () => ({}), end() {} });
  let standIn = await startStandIn({ open });
  const { port } = standIn;
  const { lines, log } = recording();
  const database = await openSqlServer(options(port, { log, retryDelayBase: 0.4 }));
  t.after(async () => {
    await database.close();
    await standIn.close();
  });
  await database.ping();
  await standIn.close();

  const unavailable = { name: "AppError", code: "unavailable" };
  await assert.rejects(database.ping(), unavailable);
  const requests = [
    database.all("SELECT 1 AS one"),
    database.run("DELETE FROM A"),
    database.transaction((tx) => tx.first("SELECT 1 AS one")),
  ];
  for (const request of requests) await assert.rejects(request, unavailable);
  assert.equal(lines.length, 3, "requests that fail together wait together");
  assertNoSecret(...lines);

  standIn = await startStandIn({ open, port });
  await database.ping();
  assert.deepEqual(await database.all("SELECT 1 AS one"), [{ one: 1 }]);
});
