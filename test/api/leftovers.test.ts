import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { copyFile, mkdtemp, readdir, rm, statfs, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { within } from "../../src/errors.ts";
import { multipartBody, open, type SendOptions, send } from "../support/client.ts";
import { type ServerProcess, startServer } from "../support/server-process.ts";
import { until } from "../support/wait.ts";

const ADMIN = { username: "admin@example.com", password: "Adm1nistrator!" };
const ENV = {
  BOOTSTRAP_ADMIN_EMAIL: ADMIN.username,
  BOOTSTRAP_ADMIN_PASSWORD: ADMIN.password,
  ACCESS_TOKEN_EXPIRE_MINUTES: "60",
};
const KILOBYTE = 1024;
const MEGABYTE = 1024 * KILOBYTE;

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-left-"));
  t.after(() => rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }));
  return folder;
}

/** A client of a server. */
async function clientOf(server: ServerProcess) {
  const { body } = await send(server.url, "POST", "/api/v1/auth/login", { form: ADMIN });
  const Authorization = `Bearer ${body.access_token}`;
  const call = (method: string, path: string, options: SendOptions = {}) =>
    send(server.url, method, path, { ...options, headers: { Authorization } });
  return {
    call,
    upload: (filename: string, size: number) =>
      call("POST", "/api/v1/docs/upload", {
        multipart: [{ name: "file", filename, data: Buffer.alloc(size, filename) }],
      }),
    /** Sends the first half of a file; `finish` sends the rest. */
    beginUpload(filename: string) {
      const data = Buffer.alloc(MEGABYTE, filename);
      const { type, body } = multipartBody([{ name: "file", filename, data }]);
      const headers = { Authorization, "Content-Type": type, "Content-Length": `${body.length}` };
      const { request, answer } = open(server.url, "POST", "/api/v1/docs/upload", headers);
      request.on("error", () => {}).write(body.subarray(0, body.length / 2));
      const finish = () => {
        request.end(body.subarray(body.length / 2));
        return answer;
      };
      return { data, finish };
    },
  };
}

/** What a server's folder holds. */
async function holdings(folder: string, blobs = folder) {
  const files = await readdir(join(blobs, "blobs"), { recursive: true, withFileTypes: true });
  const isUnfinished = (path: string) => path.includes(".unfinished");
  const paths = files.filter((file) => file.isFile()).map(({ parentPath }) => parentPath);
  const database = new DatabaseSync(join(folder, "nassaq.db"));
  const count = (table: string) =>
    Number(database.prepare(`SELECT COUNT(*) AS n FROM ${table}`).get()?.n);
  try {
    return {
      documents: count("Documents"),
      deletions: count("Deletions"),
      blobs: paths.filter((path) => !isUnfinished(path)).length,
      unfinished: paths.filter(isUnfinished).length,
    };
  } finally {
    database.close();
  }
}

test("of two servers on one folder each leaves the other's uploads alone, and cleans up after its death", async (t) => {
  const folder = await temporaryFolder(t);
  const first = await startServer(folder, ENV);
  t.after(() => first.kill("SIGKILL"));
  const second = await startServer(folder, ENV);
  t.after(() => second.kill("SIGKILL"));
  const [mortal, survivor] = [await clientOf(first), await clientOf(second)];
  const uploads = [mortal.beginUpload("doomed"), survivor.beginUpload("kept")] as const;
  const underWay = { documents: 0, deletions: 2, blobs: 0, unfinished: 2 };
  const isAs = async (expected: object) =>
    JSON.stringify(await holdings(folder)) === JSON.stringify(expected);
  await until(() => isAs(underWay), "two uploads under way");
  // Longer than a lease and a round of the chores.
  await sleep(27_000);
  await until(() => isAs(underWay), "the uploads to be under way still");
  const { status, body } = await uploads[1].finish();
  assert.equal(status, 201);
  first.kill("SIGKILL");
  await first.exit;
  const killed = performance.now();
  const cleaned = { documents: 1, deletions: 0, blobs: 1, unfinished: 0 };
  await until(() => isAs(cleaned), "the dead server's leftovers to go");
  t.diagnostic(`cleaned up ${Math.round(performance.now() - killed)} ms after the kill`);
  const { bytes } = await survivor.call("GET", `/api/v1/docs/${body.doc_id}/download`);
  assert.ok(bytes.equals(uploads[1].data));
  second.kill("SIGTERM");
  assert.deepEqual(await second.exit, { code: 0, signal: null });
  assert.deepEqual(await holdings(folder), cleaned);
});

test("uploads that the end of a server cuts off leave nothing", async (t) => {
  const folder = await temporaryFolder(t);
  const server = await startServer(folder, { ...ENV, SHUTDOWN_TIMEOUT: "1" });
  t.after(() => server.kill("SIGKILL"));
  const { beginUpload } = await clientOf(server);
  for (let index = 0; index < 10; index++) beginUpload(`slow-${index}`);
  await until(async () => (await holdings(folder)).unfinished === 10, "ten uploads under way");
  server.kill("SIGTERM");
  assert.deepEqual(await server.exit, { code: 0, signal: null });
  const nothing = { documents: 0, deletions: 0, blobs: 0, unfinished: 0 };
  assert.deepEqual(await holdings(folder), nothing);
  const [stopping, stopped] = ["stopping", "stopped"].map((message) =>
    Date.parse(String(server.lines.find((line) => line.message === message)?.time)),
  );
  const seconds = ((stopped ?? 0) - (stopping ?? 0)) / 1000;
  assert.ok(seconds >= 1 && seconds < 5, `${seconds} s`);
  t.diagnostic(`stopped after ${seconds} s`);
});

const MOUNT = 'mount -t tmpfs -o size=16m tmpfs "$0" && cd "$0" && exec "$@"';
const canMount =
  spawnSync("unshare", ["-rm", "sh", "-c", MOUNT, tmpdir(), "true"]).status === 0 &&
  existsSync("/proc/self/root");

/** A server on a disk of 16 MB of its own, which goes with it. */
async function onSmallDisk(t: TestContext, env: Record<string, string>) {
  const folder = await temporaryFolder(t);
  const before = ["unshare", "-rm", "sh", "-c", MOUNT, folder];
  const server = await startServer(folder, { ...ENV, ...env }, undefined, before);
  t.after(() => server.kill("SIGKILL"));
  const inside = join(`/proc/${server.pid}/root`, folder);
  const filler = join(inside, "filler");
  async function fill(left: number): Promise<void> {
    const { bavail, bsize } = await statfs(inside);
    await writeFile(filler, Buffer.alloc(Math.max(0, bavail * bsize - left))).catch((error) => {
      // The server took some of it meanwhile.
      if (error.code !== "ENOSPC") throw error;
    });
  }
  async function smallHoldings() {
    // SQLite would look for the path on this test's own disks.
    for (const name of ["nassaq.db", "nassaq.db-wal"])
      await copyFile(join(inside, name), join(folder, name));
    await rm(join(folder, "nassaq.db-shm"), { force: true });
    return holdings(folder, inside);
  }
  const ready = async () => (await send(server.url, "GET", "/ready")).body;
  const makeRoom = () => rm(filler);
  const client = await clientOf(server);
  return { server, fill, makeRoom, ready, holdings: smallHoldings, ...client };
}

const skip = canMount ? false : "this machine lets nobody mount a small disk";

test("below the floor readiness and uploads say so, and heal with room", { skip }, async (t) => {
  const disk = await onSmallDisk(t, { MIN_FREE_MB: "4" });
  assert.equal((await disk.upload("one", MEGABYTE)).status, 201);
  assert.equal((await disk.ready()).status, "ready");
  await disk.fill(5 * MEGABYTE);
  assert.equal((await disk.ready()).status, "ready");
  assert.equal((await disk.upload("too large", 2 * MEGABYTE)).status, 507);
  await disk.makeRoom();
  await disk.fill(3 * MEGABYTE);
  const before = await disk.holdings();
  const { status, checks } = await disk.ready();
  assert.deepEqual(
    [status, checks.database, checks.storage, checks.broker],
    ["unavailable", "unavailable", "unavailable", "ok"],
  );
  assert.equal((await disk.upload("two", 10)).status, 507);
  assert.deepEqual(await disk.holdings(), before);
  await disk.makeRoom();
  assert.equal((await disk.ready()).status, "ready");
  assert.equal((await disk.upload("two", MEGABYTE)).status, 201);
});

test("a disk that fills up at any point leaves nothing partial, and heals", { skip }, async (t) => {
  const disk = await onSmallDisk(t, { MIN_FREE_MB: "0" });
  const stored = new Map<number, string>();
  let refusals = 0;
  for (const [round, left] of [1500, 900, 500, 300, 200, 150, 100, 70, 40, 20, 8, 0].entries()) {
    await disk.fill(left * KILOBYTE);
    const name = `file-${round}`;
    const { status, body } = await disk.upload(name, 400 * KILOBYTE);
    if (status === 201) stored.set(body.doc_id, name);
    else assert.ok([500, 503, 507].includes(status), `${status} with ${left} KiB left`);
    if (status !== 201) refusals += 1;
    if (left === 0) assert.notEqual((await disk.ready()).status, "ready");
    await disk.makeRoom();
    assert.equal((await disk.ready()).status, "ready");
  }
  assert.ok(refusals > 5 && stored.size > 1, `${refusals} refused, ${stored.size} stored`);
  const { size } = stored;
  const clean = { documents: size, deletions: 0, blobs: size, unfinished: 0 };
  const isClean = async () => JSON.stringify(await disk.holdings()) === JSON.stringify(clean);
  await until(isClean, "the clean-up");
  for (const [docId, name] of stored) {
    const { bytes } = await disk.call("GET", `/api/v1/docs/${docId}/download`);
    assert.ok(bytes.equals(Buffer.alloc(400 * KILOBYTE, name)));
  }
  disk.server.kill("SIGTERM");
  const exit = await within(disk.server.exit, 60_000, "The server did not end");
  assert.deepEqual(exit, { code: 0, signal: null });
});
