import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { inspect } from "node:util";
import { DatabaseUnreachable } from "../../src/data/database.ts";
import { openSqlServer } from "../../src/data/sqlserver.ts";
import type { SqlServerOptions } from "../../src/data/sqlserver-connection.ts";
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

const ONE = { result: { columns: [{ name: "one", type: "bigint" as const }], rows: [[1]] } };
const open = () => ({ call: () => ONE, transaction: () => ({}), end() {} });

it("SQL Server: user, password and database reach the server with every character", async (t) => {
  const standIn = await startStandIn({ open });
  t.after(() => standIn.close());
  const names = [PASSWORD, 'a"b;c=d', "{x}", "domain\\me", " spaces ", "😀\t"];
  for (const name of names) {
    const settings = options(standIn.port, { user: name, password: name, name });
    const database = await openSqlServer(settings);
    assert.equal(database.description, `SQL Server (127.0.0.1:${standIn.port}, ${name})`);
    await database.close();
  }
  assert.deepEqual(
    standIn.logins,
    names.map((name) => ({ user: name, password: name, database: name })),
  );
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
      assert.match(error.message, /can't be reached/);
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
    assert.match(error.message, /refuses/);
    assert.deepEqual([standIn.logins.length, lines.length], [1, 0]);
    assertNoSecret(inspect(error, { depth: 20 }), JSON.stringify(describeError(error)));
  });

  it("is not tried again when it can't encrypt and has to", async (t) => {
    const standIn = await startStandIn({ open: () => assert.fail() });
    t.after(() => standIn.close());
    const error = await failure(options(standIn.port, { encrypt: true, log: silent }));
    assert.match(error.message, /refuses/);
    assert.equal(standIn.logins.length, 0);
  });

  it("is tried again while a paused database wakes up, with the number in the log", async (t) => {
    const refusals = [40613, 4060];
    const standIn = await startStandIn({
      open,
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
  await Promise.all(requests.map((request) => assert.rejects(request, unavailable)));
  assert.equal(lines.length, 9, "each of three requests tries again three times");
  assertNoSecret(...lines);

  standIn = await startStandIn({ open, port });
  await database.ping();
  assert.deepEqual(await database.all("SELECT 1 AS one"), [{ one: 1 }]);
});
