import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { EmbeddedBroker } from "../src/broker/embedded.ts";
import { openSqlite } from "../src/data/sqlite.ts";
import { within } from "../src/errors.ts";
import type { LogLine } from "./support/app.ts";
import { multipartBody, open, send } from "./support/client.ts";
import { type ServerProcess, spawnServer, startServer } from "./support/server-process.ts";
import { silent } from "./support/sqlserver.ts";
import { until } from "./support/wait.ts";

const LIMIT = 120_000;
const ADMIN = { email: "admin@example.com", password: "Adm1nistrator!" };
const TWO = {
  WEB_CONCURRENCY: "2",
  LOG_LEVEL: "debug",
  ACCESS_TOKEN_EXPIRE_MINUTES: "60",
  BOOTSTRAP_ADMIN_EMAIL: ADMIN.email,
  BOOTSTRAP_ADMIN_PASSWORD: ADMIN.password,
};

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-cluster-"));
  t.after(() => rm(folder, { recursive: true, force: true, maxRetries: 50, retryDelay: 100 }));
  return folder;
}

async function start(t: TestContext, folder: string, env: Record<string, string> = {}) {
  const server = await startServer(folder, { ...TWO, ...env });
  t.after(() => server.kill("SIGKILL"));
  return server;
}

async function login(url: string): Promise<string> {
  const form = { username: ADMIN.email, password: ADMIN.password };
  const { status, body } = await send(url, "POST", "/api/v1/auth/login", { form });
  assert.equal(status, 200);
  return String(body.access_token);
}

async function upload(url: string, token: string, filename: string): Promise<number> {
  const multipart = [{ name: "file", filename, data: `bytes of ${filename}` }];
  const headers = { Authorization: `Bearer ${token}` };
  const { status, body } = await send(url, "POST", "/api/v1/docs/upload", { multipart, headers });
  assert.equal(status, 201);
  return body.doc_id;
}

/** Takes what is in the queue: the documents of the messages, once there are `count`. */
async function queued(folder: string, count: number): Promise<number[]> {
  const database = openSqlite({ file: join(folder, "nassaq.db") });
  const broker = new EmbeddedBroker({ database, log: silent });
  const documents: number[] = [];
  const take = async ({ body }: { body: string }) => void documents.push(JSON.parse(body).doc_id);
  const consumer = await broker.consume("ocr_queue", take, { prefetch: 1 });
  await until(() => documents.length >= count, `${count} messages`);
  await consumer.cancel();
  await broker.close();
  await database.close();
  return documents.sort((a, b) => a - b);
}

async function count(folder: string, table: string): Promise<number> {
  const database = openSqlite({ file: join(folder, "nassaq.db") });
  const [row] = await database.all<{ count: number }>(`SELECT COUNT(*) AS count FROM ${table}`);
  await database.close();
  return Number(row?.count);
}

const told = ({ lines }: ServerProcess, message: string) =>
  lines.filter((line) => line.message === message);
const pidsOf = (lines: readonly LogLine[]) => [...new Set(lines.map(({ pid }) => Number(pid)))];
const requests = ({ lines }: ServerProcess) => lines.filter(({ route }) => route !== undefined);

test("two processes on one port share the work, send each message once and stop in order", async (t) => {
  const folder = await temporaryFolder(t);
  const server = await start(t, folder);
  assert.equal(told(server, "ready").length, 1);
  const token = await login(server.url);
  const names = Array.from({ length: 12 }, (_, index) => `${index}.txt`);
  const documents = await Promise.all(names.map((name) => upload(server.url, token, name)));
  await until(async () => (await count(folder, "Outbox")) === 0, "every message to be sent");
  await until(() => pidsOf(requests(server)).length === 2, "both to have answered");
  server.kill("SIGTERM");
  assert.deepEqual(await within(server.exit, LIMIT, "No end"), { code: 0, signal: null });
  assert.equal(told(server, "stopped").length, 3);
  assert.equal(server.lines.at(-1)?.message, "stopped");
  assert.deepEqual(
    await queued(folder, names.length),
    documents.sort((a, b) => a - b),
  );
  // The dispatcher was one process's alone.
  const closed = told(server, "closed");
  assert.equal(closed.filter(({ part }) => part === "dispatcher").length, 1);
  assert.equal(closed.filter(({ part }) => part === "database").length, 2);
});

test("when the process that leads is killed the other leads, and one is started in its place", async (t) => {
  const folder = await temporaryFolder(t);
  const server = await start(t, folder);
  const token = await login(server.url);
  const { pid: leader } = (await until(() => told(server, "leads")[0], "a leader")) as LogLine;
  const first = await upload(server.url, token, "first.txt");
  process.kill(Number(leader), "SIGKILL");
  await until(() => told(server, "leads").length === 2, "another leader");
  assert.notEqual(told(server, "leads")[1]?.pid, leader);
  const second = await upload(server.url, token, "second.txt");
  assert.deepEqual(await queued(folder, 2), [first, second]);
  await until(() => told(server, "listens").length === 3, "a process in its place");
  assert.equal(told(server, "a process ended and is started again").length, 1);
  server.kill("SIGTERM");
  assert.deepEqual(await within(server.exit, LIMIT, "No end"), { code: 0, signal: null });
});

test("messages for a leader that has just died don't end the server", async (t) => {
  // Not the embedded queue: its messages pass no dispatcher.
  const env = { MESSAGE_BROKER_URL: "amqp://127.0.0.1:1" };
  const server = await start(t, await temporaryFolder(t), env);
  const headers = { Authorization: `Bearer ${await login(server.url)}` };
  const uploads = Array.from({ length: 8 }, (_, index) => {
    const data = `bytes of ${index}`;
    const { type, body } = multipartBody([{ name: "file", filename: `${index}.txt`, data }]);
    const told = { ...headers, "Content-Type": type, "Content-Length": `${body.length}` };
    const { request, answer } = open(server.url, "POST", "/api/v1/docs/upload", told);
    request.on("error", () => {}).write(body.subarray(0, 10));
    return { finish: () => request.end(body.subarray(10)), answer };
  });
  // Every connection made before is in the hands of one of the two.
  for (let i = 0; i < 4; i++) await send(server.url, "GET", "/");
  const leader = Number(told(server, "leads")[0]?.pid);
  process.kill(server.pid, "SIGSTOP");
  process.kill(leader, "SIGKILL");
  for (const { finish } of uploads) finish();
  const answers = within(
    Promise.allSettled(uploads.map(({ answer }) => answer)),
    LIMIT,
    "No answer",
  );
  const stored = (await answers).filter((one) => one.status === "fulfilled");
  process.kill(server.pid, "SIGCONT");
  assert.ok(stored.length >= 2, `${stored.length} uploads`);
  await until(() => told(server, "leads").length === 2, "another leader");
  server.kill("SIGTERM");
  assert.deepEqual(await within(server.exit, LIMIT, "No end"), { code: 0, signal: null });
});

test("what keeps a process from starting is told once, and is the exit code", async (t) => {
  const taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  t.after(() => taken.close());
  const { port } = taken.address() as { port: number };
  for (const [name, code] of [
    ["PORT", 1],
    ["METRICS_PORT", 78],
  ] as const) {
    const folder = await temporaryFolder(t);
    const child = spawnServer(folder, { ...TWO, [name]: `${port}` });
    const [stdout, [exit]] = await Promise.all([
      text(child.stdout as NonNullable<typeof child.stdout>),
      within(once(child, "exit"), LIMIT, "No end"),
    ]);
    assert.equal(exit, code, stdout);
    assert.equal(stdout.match(/cannot start/g)?.length, 1, stdout);
  }
});

test("each process has a port of its own for metrics", async (t) => {
  const server = await start(t, await temporaryFolder(t), { METRICS_PORT: "0" });
  const addresses = told(server, "ready")[0]?.metrics as string[];
  assert.equal(new Set(addresses).size, 2);
  for (const address of addresses) {
    const { origin, pathname } = new URL(address);
    assert.equal((await send(origin, "GET", pathname)).status, 200);
  }
});
