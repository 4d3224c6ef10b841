import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { copyFile, cp, mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { Agent, get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { type Mock, type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { addToOutbox } from "../../src/data/outbox.ts";
import { within } from "../../src/errors.ts";
import { startTestApp } from "../support/app.ts";
import { type Answer, multipartBody, open, type SendOptions, send } from "../support/client.ts";
import { partsFromEnvironment } from "../support/parts.ts";
import { type ServerProcess, spawnServer, startServer } from "../support/server-process.ts";
import { until } from "../support/wait.ts";

const ROOT = join(import.meta.dirname, "../..");
const ADMIN = { email: "admin@example.com", password: "Adm1nistrator!" };
const BOOTSTRAP = { BOOTSTRAP_ADMIN_EMAIL: ADMIN.email, BOOTSTRAP_ADMIN_PASSWORD: ADMIN.password };
const LONG_TOKENS = { ACCESS_TOKEN_EXPIRE_MINUTES: "60" };

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-life-"));
  t.after(() => rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }));
  return folder;
}

async function ok(
  url: string,
  method: string,
  path: string,
  token: string | undefined,
  options: SendOptions = {},
): Promise<Answer> {
  const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
  const answer = await send(url, method, path, { ...options, headers });
  assert.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${answer.bytes}`);
  return answer;
}

async function login(url: string, { email, password } = ADMIN) {
  const { body } = await ok(url, "POST", "/api/v1/auth/login", undefined, {
    form: { username: email, password },
  });
  return { token: String(body.access_token), refreshToken: String(body.refresh_token) };
}

const LIMIT = 120_000;
const ended = ({ exit }: ServerProcess) => within(exit, LIMIT, "The server did not end");

/** Begins an upload, whose body the test sends. Once the server asks for it, it is in flight. */
async function beginUpload(url: string, data: Buffer | string) {
  const { token } = await login(url);
  const { type, body } = multipartBody([{ name: "file", filename: "slow.bin", data }]);
  const { request, answer } = open(url, "POST", "/api/v1/docs/upload", {
    Authorization: `Bearer ${token}`,
    "Content-Type": type,
    "Content-Length": String(body.length),
    Expect: "100-continue",
  });
  const invited = once(request, "continue");
  request.on("error", () => {}).flushHeaders();
  await within(invited, LIMIT, "The server did not ask for the body");
  return { request, answer, body };
}

const isStopping = ({ lines }: ServerProcess) =>
  lines.some(({ message }) => message === "stopping");

test("after a kill and after a stop users, tokens, documents and queued messages are still good", async (t) => {
  const folder = await temporaryFolder(t);
  const parts = partsFromEnvironment(randomBytes(6).toString("hex"));
  t.after(() => parts.remove());
  const env = { ...parts.env, ...BOOTSTRAP, ...LONG_TOKENS };

  const first = await startServer(folder, env);
  t.after(() => first.kill("SIGKILL"));
  const { token, refreshToken } = await login(first.url);
  await ok(first.url, "POST", "/api/v1/paths", token, { json: { full_path: "مجلد" } });
  const documents: { doc_id: number; path: string; filename: string; data: string }[] = [];
  const upload = async (url: string, filename: string) => {
    const data = `bytes of ${filename}`;
    const multipart = [
      { name: "full_path", value: "مجلد" },
      { name: "file", filename, data },
    ];
    const { body } = await ok(url, "POST", "/api/v1/docs/upload", token, { multipart });
    documents.push({ ...body, data });
  };
  for (const name of ["one.txt", "two.txt", "three.txt"]) await upload(first.url, name);
  first.kill("SIGKILL");
  assert.equal((await ended(first)).signal, "SIGKILL");

  const second = await startServer(folder, env);
  t.after(() => second.kill("SIGKILL"));
  assert.equal((await ok(second.url, "GET", "/api/v1/users/me", token)).body.email, ADMIN.email);
  await login(second.url);
  const renewed = (await ok(second.url, "POST", "/api/v1/auth/refresh", refreshToken)).body
    .access_token;
  await upload(second.url, "four.txt");
  second.kill("SIGTERM");
  assert.deepEqual(await ended(second), { code: 0, signal: null });

  const third = await startTestApp({ folder, env: { ...env, JWT_SECRET_KEY: "" } });
  try {
    const { body } = await ok(
      third.url,
      "GET",
      `/api/v1/docs?path=${encodeURIComponent("مجلد")}`,
      renewed,
    );
    assert.equal(body.total, 4);
    for (const { doc_id, data } of documents) {
      const { bytes } = await ok(third.url, "GET", `/api/v1/docs/${doc_id}/download`, renewed);
      assert.equal(bytes.toString(), data);
    }
    // At least once: of the killed server's messages one may come twice.
    const sent = new Map(
      (await third.takeMessages(4)).map(({ body }) => [JSON.parse(body).doc_id, body]),
    );
    for (const { doc_id, path, filename } of documents) {
      assert.deepEqual(JSON.parse(sent.get(doc_id) ?? "{}"), {
        doc_id,
        file_path: path,
        filename,
        user_id: 1,
      });
    }
  } finally {
    await third.close();
  }
});

test("SIGTERM lets a running upload finish, takes nothing new, and ends with 0", async (t) => {
  const server = await startServer(await temporaryFolder(t), { ...BOOTSTRAP, ...LONG_TOKENS });
  t.after(() => server.kill("SIGKILL"));
  const { request, answer, body } = await beginUpload(server.url, Buffer.alloc(300_000, "slow"));
  request.write(body.subarray(0, 150_000));
  server.kill("SIGTERM");
  await until(() => isStopping(server), "the line that the server stops");
  // The port closes in the same turn as that line, or soon after.
  const refused = () =>
    send(server.url, "GET", "/").then(
      ({ status }) => status === 503,
      () => true,
    );
  await until(refused, "a new request to be refused");
  request.end(body.subarray(150_000));
  assert.equal((await within(answer, LIMIT, "No answer to the upload")).status, 201);
  assert.deepEqual(await ended(server), { code: 0, signal: null });
  assert.equal(server.lines.at(-1)?.message, "stopped");
});

test("an upload that never ends does not keep the server from stopping in its time", async (t) => {
  const folder = await temporaryFolder(t);
  const server = await startServer(folder, { ...BOOTSTRAP, SHUTDOWN_TIMEOUT: "1" });
  t.after(() => server.kill("SIGKILL"));
  const { request } = await beginUpload(server.url, "never sent");
  server.kill("SIGINT");
  assert.deepEqual(await ended(server), { code: 0, signal: null });
  request.destroy();
});

test("readiness is a 503 that names what is down, and heals by itself", async (t) => {
  const app = await startTestApp();
  try {
    for (const part of ["database", "storage", "broker", "content"] as const) {
      const down = t.mock.method(app.app[part], "ping", () =>
        Promise.reject(new Error("10.1.2.3 refused")),
      );
      const { status, body, bytes } = await app.call("GET", "/ready");
      assert.equal(status, 503);
      const notOk = Object.entries(body.checks).flatMap(([name, state]) =>
        state === "ok" ? [] : [name],
      );
      // Embedded parts live in the embedded database.
      if (part === "database") assert.ok(notOk.includes("database") && !notOk.includes("storage"));
      else assert.deepEqual(notOk, [part]);
      assert.doesNotMatch(bytes.toString(), /10\.1/);
      assert.equal((await app.call("GET", "/")).status, 204);
      down.mock.restore();
      assert.equal((await app.call("GET", "/ready")).status, 200);
    }
  } finally {
    await app.close();
  }
});

test("a part that does not answer is named in bounded time", async (t) => {
  const app = await startTestApp();
  try {
    t.mock.method(app.app.storage, "ping", () => new Promise(() => {}));
    const { status, body } = await app.call("GET", "/ready");
    assert.equal(status, 503);
    assert.notEqual(body.checks.storage, "ok");
  } finally {
    await app.close();
  }
});

test("while the server stops, readiness says so on connections that are open", async (t) => {
  const app = await startTestApp();
  const agent = new Agent({ keepAlive: true, maxSockets: 2 });
  t.after(() => agent.destroy());
  const ask = () =>
    new Promise<number>((resolve, reject) => {
      get(`${app.url}/ready`, { agent }, (response) => {
        response.resume().on("end", () => resolve(response.statusCode ?? 0));
      }).on("error", reject);
    });
  assert.equal(await ask(), 200);
  // A request is in flight while the server begins to stop.
  const release = Promise.withResolvers<void>();
  const entered = Promise.withResolvers<void>();
  const ping = t.mock.method(app.app.storage, "ping", () => {
    entered.resolve();
    return release.promise;
  });
  const asked = ask();
  await entered.promise;
  const closed = app.close();
  ping.mock.restore();
  release.resolve();
  assert.equal(await asked, 503);
  await closed;
});

test("who waits is answered first, then the server stops, then the background work, then the parts, the database last", async () => {
  const app = await startTestApp();
  await app.close();
  const closed = app.lines.filter(({ message }) => message === "closed").map(({ part }) => part);
  const chores = ["leases of uploads", "deletions", "accounts"];
  const work = [...chores, "texts", "strays"];
  const inOrder = [
    ["server", "status watch"],
    ["dispatcher", "first admin", "audit trail", "passwords", ...work],
    ["broker", "content", "storage"],
    ["database"],
  ];
  for (const stage of inOrder)
    assert.deepEqual(closed.splice(0, stage.length).sort(), stage.sort());
  assert.deepEqual(closed, []);
});

test("what hangs is left and told, and everything ends a second after SHUTDOWN_TIMEOUT", async (t) => {
  const app = await startTestApp({ env: { SHUTDOWN_TIMEOUT: "1" } });
  const { broker, storage, content, database } = app.app;
  const release = Promise.withResolvers<void>();
  for (const part of [broker, content]) t.mock.method(part, "close", () => release.promise);
  // A publish and a request that don't end.
  t.mock.method(broker, "publish", () => release.promise);
  t.mock.method(storage, "ping", () => release.promise);
  await addToOutbox(database, { doc_id: 1, queue: "q", message_id: "m", body: "{}" }, new Date());
  await until(() => calls(broker.publish) > 0, "a publish");
  const asked = send(app.url, "GET", "/ready").catch(() => {});
  await until(() => calls(storage.ping) > 0, "a request");
  const begun = performance.now();
  await app.app.stop();
  const seconds = (performance.now() - begun) / 1000;
  assert.ok(seconds > 1 && seconds < 5, `${seconds} s`);
  const told = app.lines.filter(({ message }) => message === "a part did not close cleanly");
  assert.deepEqual(told.map(({ part }) => part).sort(), [
    "broker",
    "content",
    "dispatcher",
    "server",
  ]);
  const closed = app.lines.filter(({ message }) => message === "closed").map(({ part }) => part);
  assert.deepEqual([closed.includes("storage"), closed.at(-1)], [true, "database"]);
  release.resolve();
  await asked;
  await app.close();
});

const calls = (method: unknown) => (method as Mock<() => void>).mock.callCount();

test("a second signal ends the process at once", async (t) => {
  const folder = await temporaryFolder(t);
  const server = await startServer(folder, { ...BOOTSTRAP, SHUTDOWN_TIMEOUT: "3600" });
  t.after(() => server.kill("SIGKILL"));
  const { request } = await beginUpload(server.url, "never sent");
  server.kill("SIGTERM");
  await until(() => isStopping(server), "the line that the server stops");
  // Sooner it would be taken for npm's echo of the first.
  await delay(300);
  server.kill("SIGTERM");
  assert.deepEqual(await ended(server), { code: 1, signal: null });
  request.destroy();
});

test("a Ctrl-C that npm passes on as well is no second signal", async (t) => {
  const folder = await temporaryFolder(t);
  const server = await startServer(folder, { ...BOOTSTRAP, SHUTDOWN_TIMEOUT: "3600" });
  t.after(() => server.kill("SIGKILL"));
  const { request, answer, body } = await beginUpload(server.url, "sent after the signals");
  for (const signal of ["SIGINT", "SIGTERM"] as const) server.kill(signal);
  await until(() => isStopping(server), "the line that the server stops");
  await delay(300);
  request.end(body);
  assert.equal((await within(answer, LIMIT, "No answer to the upload")).status, 201);
  assert.deepEqual(await ended(server), { code: 0, signal: null });
});

test("a wrong configuration ends with 78 and one message that names every variable, without values", async (t) => {
  const folder = await temporaryFolder(t);
  const secret = "topsecretvalue";
  const child = spawnServer(folder, {
    ENVIRONMENT: "production",
    PORT: secret,
    MAX_UPLOAD_SIZE_MB: "-1",
    JWT_SECRET_KEY: "short",
    CORS_ORIGINS: "*",
  });
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout as NonNullable<typeof child.stdout>),
    text(child.stderr as NonNullable<typeof child.stderr>),
    within(once(child, "exit"), LIMIT, "The server did not end"),
  ]);
  assert.deepEqual([code, stdout], [78, ""]);
  for (const name of [
    "PORT",
    "MAX_UPLOAD_SIZE_MB",
    "JWT_SECRET_KEY",
    "CORS_ORIGINS",
    "SQL_SERVER",
    "SQL_DB_NAME",
    "SQL_USER",
    "SQL_PASS",
    "MONGO_HOST",
    "MONGO_USER",
    "MONGO_PASS",
    "BLOB_CONNECTION_STR",
    "BLOB_STORAGE_CONTAINER_NAME",
    "MESSAGE_BROKER_URL",
  ]) {
    assert.match(stderr, new RegExp(`^\\s*${name} `, "m"), name);
  }
  assert.doesNotMatch(stderr, /topsecretvalue|short\b.*short|^\s+at /m);
});

test("an address that is taken is one clear message and exit 1", async (t) => {
  const app = await startTestApp();
  t.after(() => app.close());
  const child = spawnServer(await temporaryFolder(t), { PORT: new URL(app.url).port });
  const [stdout, [code]] = await Promise.all([
    text(child.stdout as NonNullable<typeof child.stdout>),
    within(once(child, "exit"), LIMIT, "The server did not end"),
  ]);
  assert.equal(code, 1);
  assert.match(stdout, /cannot start: .*EADDRINUSE/);
});

test("sessions are kept for a day after their end, as a request may outlive its own", async (t) => {
  const folder = await temporaryFolder(t);
  const first = await startTestApp({ folder });
  const [over, justOver] = [await first.person(), await first.person()];
  const hours = (count: number) => new Date(Date.now() - count * 3_600_000);
  for (const [{ id }, age] of [
    [over, 25],
    [justOver, 23],
  ] as const)
    await first.app.database.run("UPDATE Sessions SET expires_at = @at WHERE user_id = @id", {
      at: hours(age),
      id,
    });
  await first.close();
  const second = await startTestApp({ folder });
  t.after(() => second.close());
  const left = () => second.app.database.all("SELECT user_id AS id FROM Sessions");
  await until(async () => (await left()).length < 2, "the chores");
  assert.deepEqual(await left(), [{ id: justOver.id }]);
});

test("the first admin of dev is told once, and never again", async (t) => {
  const folder = await temporaryFolder(t);
  const first = await startServer(folder, { ENVIRONMENT: "dev" });
  t.after(() => first.kill("SIGKILL"));
  const told = await until(
    () =>
      /^Address: (\S+)\nAPI reference: (\S+)\nFirst administrator: (\S+)\nPassword: (\S+)\n$/.exec(
        first.complaints(),
      ) ?? undefined,
    "the first admin and the addresses on standard error",
  );
  const [, address, reference, email = "", password = ""] = told;
  assert.deepEqual([address, reference], [first.url, `${first.url}/docs`]);
  const account = { email, password };
  await login(first.url, account);
  assert.ok(!JSON.stringify(first.lines).includes(password), "the log has the password");
  first.kill("SIGTERM");
  await ended(first);
  const second = await startServer(folder, { ENVIRONMENT: "dev" });
  t.after(() => second.kill("SIGKILL"));
  await login(second.url, account);
  assert.ok(!(JSON.stringify(second.lines) + second.complaints()).includes(password));
  second.kill("SIGTERM");
  assert.equal((await ended(second)).code, 0);
});

const script = spawnSync("script", ["--version"], { encoding: "utf8" });

/** What `src/main.ts` of a checkout with some packages only says on a terminal of 80 columns. */
async function onTerminal(t: TestContext, packages: string[]): Promise<string> {
  const folder = await temporaryFolder(t);
  await cp(join(ROOT, "src"), join(folder, "src"), { recursive: true });
  await copyFile(join(ROOT, "package.json"), join(folder, "package.json"));
  await mkdir(join(folder, "node_modules"));
  for (const name of packages)
    await symlink(join(ROOT, "node_modules", name), join(folder, "node_modules", name));
  const command = `stty cols 80; exec '${process.execPath}' src/main.ts`;
  const child = spawn("script", ["-q", "-e", "-f", "-c", command, "/dev/null"], {
    cwd: folder,
    env: { PATH: process.env.PATH, TERM: "xterm", PORT: "0", EMBEDDED_WORKER: "no" },
  });
  t.after(() => child.kill("SIGKILL"));
  let said = "";
  child.stdout.on("data", (data) => {
    said += data;
  });
  await until(async () => /Password: \S+\s/.test(said), "the password");
  child.stdin.write("\u0003");
  await within(once(child, "close"), LIMIT, "The server did not end");
  return said.replaceAll("\r", "");
}

test("on a terminal the address, the reference if it is there, the first admin and the password stand each on a line", {
  skip: /util-linux/.test(script.stdout ?? "") ? false : "needs `script` of util-linux",
}, async (t) => {
  const runtime = ["valibot", "bcryptjs"];
  for (const packages of [runtime, [...runtime, "swagger-ui-dist"]]) {
    const said = await onTerminal(t, packages);
    const reference = packages === runtime ? "" : "API reference: http:\\S+/docs\n";
    const block = `Address: http:\\S+\n${reference}First administrator: \\S+\nPassword: \\S+\n`;
    assert.match(said, new RegExp(`ready address=http:\\S+\n(  .+\n)+${block}`));
    const fields = said.split("\n").filter((line) => / .* \S+=/.test(line));
    assert.ok(
      fields.every((line) => line.length <= 80),
      said,
    );
  }
});
