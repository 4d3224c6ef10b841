import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { pathToFileURL } from "node:url";
import { connect } from "amqplib";
import { within } from "../../src/errors.ts";
import { findRabbitMQ } from "../support/rabbitmq.ts";
import { type ServerProcess, spawnServer, startServer } from "../support/server-process.ts";
import { until } from "../support/wait.ts";
import { ENV, lives, signIn, temporaryFolder } from "./support.ts";

const LIMIT = 120_000;
const SCAN = readFileSync(join(import.meta.dirname, "../samples/letter-scan.png"));
const WORKER = join(import.meta.dirname, "../../src/worker/main.ts");

const workerLines = ({ lines }: ServerProcess) => lines.filter(({ part }) => part === "worker");
const readyWorkers = (server: ServerProcess) =>
  workerLines(server).filter(({ message }) => message === "ready");

/** A server with a worker beside itself that is ready, and the worker's process id. */
async function startBoth(t: TestContext, env: Record<string, string> = {}) {
  const server = await startServer(await temporaryFolder(t), {
    ...ENV,
    EMBEDDED_WORKER: "yes",
    ...env,
  });
  t.after(() => server.kill("SIGKILL"));
  return { server, pid: await readyPid(server, 1) };
}

/** The process id of the worker that is the `count`th to be ready. */
async function readyPid(server: ServerProcess, count: number): Promise<number> {
  const line = await until(() => readyWorkers(server)[count - 1], "a worker to be ready");
  return Number(line.pid);
}

test("a server's own worker finishes what is uploaded, and ends with it in order", async (t) => {
  const { server, pid } = await startBoth(t);
  const { upload, finished, status } = await signIn(server);
  const docId = await upload("ملاحظات.txt", "نص قصير in two scripts");
  await finished(docId);
  const bad = await upload("broken.pdf", "%PDF-1.7\nnothing");
  await until(async () => (await status(bad)).status === "Failed", "the broken PDF to fail");
  assert.match((await status(bad)).error_message, /\w/);

  server.kill("SIGTERM");
  const exit = await within(server.exit, LIMIT, "The server did not end");
  assert.deepEqual(exit, { code: 0, signal: null });
  assert.equal(lives(pid), false);
  const messages = server.lines.map(({ message, part }) => `${part ?? "server"}: ${message}`);
  const order = ["server: stopping", "worker: stopping", "worker: stopped", "server: stopped"];
  assert.deepEqual(
    messages.filter((line) => order.includes(line)),
    order,
  );
  const wrong = server.lines.filter(({ level }) => level === "error" || level === "warn");
  assert.deepEqual(wrong, []);
});

test("a killed worker is started again, and takes what waits", async (t) => {
  const { server, pid } = await startBoth(t);
  const { upload, finished } = await signIn(server);
  process.kill(pid, "SIGKILL");
  const docId = await upload("waits.txt", "until the next worker comes");
  assert.notEqual(await readyPid(server, 2), pid);
  await finished(docId);
});

test("a server that is killed leaves no worker behind", async (t) => {
  const { server, pid } = await startBoth(t);
  server.kill("SIGKILL");
  await within(server.exit, LIMIT, "The server did not end");
  await until(() => !lives(pid), "the worker to end");
});

test("a server that is killed while its worker starts leaves none behind either", async (t) => {
  const server = spawnServer(await temporaryFolder(t), { ...ENV, EMBEDDED_WORKER: "yes" });
  t.after(() => server.kill("SIGKILL"));
  assert.ok(server.stdout && server.stderr);
  server.stderr.resume();
  await once(createInterface({ input: server.stdout }), "line");
  // The worker has the same standard output, which closes when both have ended.
  const closed = once(server, "close");
  server.kill("SIGKILL");
  await within(closed, LIMIT, "The worker did not end");
});

test("a worker told to end while it reads does so in two seconds, and the next one goes on", async (t) => {
  const { server, pid } = await startBoth(t);
  const { upload, finished, status } = await signIn(server);
  const docId = await upload("scan.png", SCAN);
  await until(async () => (await status(docId)).status === "Processing", "the scan to be read");
  const told = performance.now();
  process.kill(pid, "SIGTERM");
  await until(() => !lives(pid), "the worker to end");
  const took = performance.now() - told;
  t.diagnostic(`the worker ended in ${Math.round(took)} ms`);
  assert.ok(took < 20_000, `${took} ms`);
  // Told to end it is not started again: another takes the queue over.
  const next = spawnServer(server.folder, ENV, WORKER);
  t.after(() => next.kill("SIGKILL"));
  await finished(docId);
});

/** The environment of a process for which a package is not installed. */
async function without(name: string, folder: string): Promise<Record<string, string>> {
  const hooks = join(folder, "hooks.mjs");
  await writeFile(
    hooks,
    `import { registerHooks } from "node:module";
     registerHooks({
       resolve(specifier, context, next) {
         if (specifier.startsWith(${JSON.stringify(name)})) throw new Error("not installed");
         return next(specifier, context);
       },
     });`,
  );
  return { ...ENV, NODE_OPTIONS: `--import ${pathToFileURL(hooks)}` };
}

test("without the engines the server says so once and starts no worker", async (t) => {
  const folder = await temporaryFolder(t);
  const env = { ...(await without("@hyzyla/pdfium", folder)), EMBEDDED_WORKER: "yes" };
  const server = await startServer(folder, env);
  t.after(() => server.kill("SIGKILL"));
  server.kill("SIGTERM");
  assert.deepEqual(await within(server.exit, LIMIT, "The server did not end"), {
    code: 0,
    signal: null,
  });
  const warnings = server.lines.filter(({ level }) => level === "warn");
  assert.equal(warnings.length, 1);
  assert.match(String(warnings[0]?.message), /stay queued.*npm ci --include=optional/);
  assert.deepEqual(workerLines(server), []);
});

test("a worker without the engines says how to install them, and ends", async (t) => {
  const folder = await temporaryFolder(t);
  const { code, output } = await runWorker(t, folder, await without("tesseract.js-core", folder));
  assert.equal(code, 1);
  assert.match(output, /npm ci --include=optional/);
});

test("workers on RabbitMQ share the queue, and leave at once what they are told to", async (t) => {
  const rabbitmq = await findRabbitMQ();
  if ("skip" in rabbitmq) return t.skip(rabbitmq.skip);
  const queue = `nassaq_test_${randomUUID()}`;
  const env = { ...ENV, MESSAGE_BROKER_URL: rabbitmq.url, OCR_QUEUE_NAME: queue };
  const server = await startServer(await temporaryFolder(t), env);
  const workers: ChildProcess[] = [];
  const work = () => workers.push(spawnServer(server.folder, env, WORKER));
  t.after(async () => {
    for (const child of [server, ...workers]) child.kill("SIGKILL");
    const connection = await connect(rabbitmq.url);
    const channel = await connection.createChannel();
    for (const name of [queue, `${queue}.failed`]) await channel.deleteQueue(name);
    await connection.close();
    await rabbitmq.dispose();
  });
  const { upload, finished, status } = await signIn(server);
  const scan = await upload("scan.png", SCAN);
  const note = await upload("note.txt", "a note");
  work();
  await until(async () => (await status(scan)).status === "Processing", "the scan to be read");
  const [first] = workers as [ChildProcess];
  const ended = once(first, "exit");
  first.kill("SIGTERM");
  assert.deepEqual(await within(ended, LIMIT, "The worker did not end"), [0, null]);
  work();
  work();
  for (const docId of [scan, note]) await finished(docId);
});

test("a worker refuses Service Bus, whose messages it can't take", async (t) => {
  const url = "Endpoint=sb://ns.example;SharedAccessKeyName=k;SharedAccessKey=a2V5";
  const env = { MESSAGE_BROKER_URL: url };
  const { code, output } = await runWorker(t, await temporaryFolder(t), env);
  assert.equal(code, 78);
  assert.match(output, /RabbitMQ or the embedded queue only/);
});

/** Runs a worker until it ends by itself. */
async function runWorker(t: TestContext, folder: string, env: Record<string, string>) {
  const child = spawnServer(folder, env, WORKER);
  t.after(() => child.kill("SIGKILL"));
  let output = "";
  child.stdout?.on("data", (data) => {
    output += data;
  });
  const [code] = await within(once(child, "close"), LIMIT, "The worker did not end");
  return { code, output };
}
