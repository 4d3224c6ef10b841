import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { compileServer } from "../support/server-process.ts";

const CHECKOUT = join(import.meta.dirname, "../..");

/** A folder with the demo, its samples and an empty folder for temporary files. */
async function checkout(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-demo-test-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  for (const part of ["examples", "test/samples"]) {
    await cp(join(CHECKOUT, part), join(folder, part), { recursive: true });
  }
  await mkdir(join(folder, "dist"));
  await mkdir(join(folder, "scratch"));
  return folder;
}

/** Runs the demo there; it leaves no temporary file, however it ends. */
async function demo(folder: string, env: Record<string, string> = {}) {
  const child = spawn(process.execPath, ["examples/demo.ts"], {
    cwd: folder,
    env: { PATH: process.env.PATH, TMPDIR: join(folder, "scratch"), ...env },
    timeout: 600_000,
  });
  const output = Promise.all([text(child.stdout), text(child.stderr)]);
  const [[code], [stdout, stderr]] = await Promise.all([once(child, "close"), output]);
  assert.deepEqual(await readdir(join(folder, "scratch")), []);
  return { code, stdout, stderr };
}

test("does the whole job whatever limits, keys and files the environment has, and leaves nothing", async (t) => {
  const folder = await checkout(t);
  await compileServer(folder);
  await writeFile(
    join(folder, ".env"),
    "AUTH_RATE_PER_ACCOUNT=1\nDATA_DIR=./elsewhere\nHOST=no.such.host.invalid\n",
  );
  const { code, stdout, stderr } = await demo(folder, {
    ENVIRONMENT: "production",
    SQL_SERVER: "embedded",
    MONGO_HOST: "embedded",
    MESSAGE_BROKER_URL: "embedded",
    BLOB_STORAGE_TYPE: "local",
    JWT_SECRET_KEY: "short",
    AUTH_RATE_PER_ADDRESS: "1",
    MIGRATE_ON_START: "no",
    MAX_UPLOAD_SIZE_MB: "none",
    LOG_LEVEL: "error",
    BOOTSTRAP_ADMIN_EMAIL: "somebody@example.org",
    BOOTSTRAP_ADMIN_PASSWORD: "A long passphrase, 1",
  });
  assert.deepEqual([code, stderr], [0, ""], stdout);
  assert.match(stdout, /Every step was right\.\n$/);
  assert.ok(!(await readdir(folder)).includes("elsewhere"));

  // The server refuses what has no byte.
  await writeFile(join(folder, "test/samples/empty.txt"), "");
  const wrong = await demo(folder);
  assert.equal(wrong.code, 1);
  assert.match(
    wrong.stderr,
    /^POST \/api\/v1\/docs\/upload \(Salma uploads empty\.txt .*\): expected 201, got 400: .*empty.*\n$/,
  );
  assert.doesNotMatch(wrong.stdout, /Every step was right/);
});

test("says which step got no answer", async (t) => {
  const folder = await checkout(t);
  const server = `import { createServer } from "node:http";
    const server = createServer((request) => request.socket.destroy()).listen(0, "127.0.0.1", () => {
      const address = "http://127.0.0.1:" + server.address().port;
      console.log(JSON.stringify({ level: "info", message: "ready", address }));
    });`;
  await writeFile(join(folder, "dist/main.js"), server);
  const { code, stderr } = await demo(folder);
  assert.equal(code, 1);
  assert.match(stderr, /^GET \/ \(the server is alive\): fetch failed\n$/);
});

test("ends with what the server says when it does not start", async (t) => {
  const folder = await checkout(t);
  await writeFile(join(folder, "dist/main.js"), 'console.error("no"); process.exit(78);');
  assert.deepEqual(await demo(folder), {
    code: 1,
    stdout: "",
    stderr: "no\nThe server ended: 78\n",
  });
});

test("on a SQL Server asks for an administrator", async (t) => {
  const { code, stdout, stderr } = await demo(await checkout(t), { SQL_SERVER: "sql.invalid" });
  assert.deepEqual([code, stdout], [1, ""]);
  assert.match(stderr, /^With SQL Server, set BOOTSTRAP_ADMIN_EMAIL and .*PASSWORD too\.\n$/);
});
