import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, rm, rmdir, statfs, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, describe, type TestContext, test } from "node:test";
import { type Answer, multipartBody, open } from "../support/client.ts";
import { until } from "../support/wait.ts";
import type { Upload } from "./ledger.ts";
import { embedded } from "./parts.ts";
import { seeded } from "./random.ts";
import { ADMIN, assertNothingFound, Rig, removeBuilt } from "./rig.ts";
import { note } from "./slow.ts";

const DISK_MB = 32;
const MEGABYTE = 1024 * 1024;
const POINTS = 20;
/** Free bytes from point to point, and the size of the file that is uploaded into them. */
const STEP = 24 * 1024;
const FILE = 200_000;

const cannotMount = whyNoMount();
const random = seeded(31);

describe(`a disk that fills up: ${POINTS} points, and a floor`, { skip: cannotMount }, () => {
  after(removeBuilt);

  test(`full at ${POINTS} points: clear answers, nothing wrong, nothing left, and it heals`, (t) =>
    onSmallDisk(t, { MIN_FREE_MB: "0" }, async (rig, disk) => {
      const seen: Record<string, Set<number>> = {};
      const saw = (what: string, { status, body }: Answer, allowed: number[]) => {
        seen[what] = (seen[what] ?? new Set()).add(status);
        assert.ok(allowed.includes(status), `${what}: ${status}`);
        if (status === 500) assert.deepEqual(body, { detail: "Storage upload failed" });
      };
      for (let point = 0; point < POINTS; point++) {
        const [first, second] = [await upload(rig), await upload(rig)];
        assert.deepEqual([first.status, second.status], [201, 201], `before point ${point}`);
        await disk.fill(point * STEP);
        saw("upload", await upload(rig), [201, 500, 503, 507]);
        saw("login", await login(rig), [200, 503]);
        saw("download", await download(rig, first.noted), [200, 503]);
        saw("delete", await remove(rig, first.noted), [200, 503]);
        await disk.free();
        for (const document of [first.noted, second.noted])
          if (document.deleted !== "yes") saw("delete", await remove(rig, document), [200, 404]);
      }
      t.diagnostic(
        Object.entries(seen)
          .map(([what, statuses]) => `${what}: ${[...statuses].sort().join(", ")}`)
          .join("; "),
      );
      // It was full indeed.
      assert.ok([...(seen.upload ?? [])].some((status) => status !== 201));
      assertNothingFound(await rig.findings(), "after twenty full disks");
    }));

  test("below the floor: 503 from readiness, 507 before the body, until there is room", (t) =>
    onSmallDisk(t, { MIN_FREE_MB: "8" }, async (rig, disk) => {
      const { status: before, noted } = await upload(rig);
      assert.equal(before, 201);
      assert.equal(await readiness(rig), 200);
      await disk.fill(4 * MEGABYTE);
      await until(async () => (await readiness(rig)) === 503, "readiness to tell", 10_000);
      const { status, body, invited } = await announceUpload(rig);
      assert.deepEqual([status, invited], [507, false]);
      assert.deepEqual(body, { detail: "Not enough space to store the file" });
      assert.equal((await download(rig, noted)).status, 200);
      assert.equal((await remove(rig, noted)).status, 200);
      await disk.free();
      await until(async () => (await readiness(rig)) === 200, "readiness to heal", 10_000);
      assert.equal((await upload(rig)).status, 201);
      assertNothingFound(await rig.findings(), "after the floor");
    }));
});

/** Undefined where a file system can be mounted. */
function whyNoMount(): string | undefined {
  if (process.platform !== "linux" || process.getuid?.() !== 0)
    return "only root on Linux can mount a small file system";
  const { status, stderr } = spawnSync("unshare", ["-m", "mount", "-t", "tmpfs", "x", "/mnt"]);
  return status === 0 ? undefined : `a small file system can't be mounted: ${stderr}`;
}

interface Disk {
  /** Leaves about so many bytes. */
  fill(left: number): Promise<void>;
  free(): Promise<void>;
}

/** Runs `work` with a server all whose data is on a file system of 32 MB. */
async function onSmallDisk(
  t: TestContext,
  env: Record<string, string>,
  work: (rig: Rig, disk: Disk) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-disk-"));
  const mount = ["-t", "tmpfs", "-o", `size=${DISK_MB}m`, "nassaq-test", folder];
  assert.equal(spawnSync("mount", mount).status, 0, "the small file system was not mounted");
  const ballast = join(folder, "ballast");
  const disk: Disk = {
    async fill(left) {
      // The log of the database would keep room for its next entries.
      const database = new DatabaseSync(join(folder, "nassaq.db"), { timeout: 10_000 });
      database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
      database.close();
      const { bavail, bsize } = await statfs(folder);
      const filling = writeFile(ballast, Buffer.alloc(Math.max(0, bavail * bsize - left)));
      // The server may take some of it meanwhile: the disk is full then, which is as good.
      await filling.catch((error) => assert.equal(error.code, "ENOSPC"));
    },
    free: () => rm(ballast),
  };
  const rig = await Rig.make(embedded, { env, folder });
  t.after(async () => {
    await rig.close();
    spawnSync("umount", [folder]);
    await rmdir(folder);
  });
  await rig.start();
  await rig.admin();
  await work(rig, disk);
}

async function upload(rig: Rig): Promise<Answer & { noted: Upload }> {
  const data = random.bytes(FILE);
  const noted = rig.ledger.begin(rig.ledger.newName(), data, 1);
  const multipart = [{ name: "file", filename: noted.filename, data }];
  const answer = await rig.call("POST", "/docs/upload", await rig.admin(), { multipart });
  note(noted, answer);
  return { ...answer, noted };
}

/** An upload that waits for the server's invitation before it sends its body. */
async function announceUpload(rig: Rig) {
  const { type, body } = multipartBody([
    { name: "file", filename: "too large.bin", data: random.bytes(FILE) },
  ]);
  const { request, answer } = open(String(rig.server?.url), "POST", "/api/v1/docs/upload", {
    Authorization: `Bearer ${await rig.admin()}`,
    "Content-Type": type,
    "Content-Length": String(body.length),
    Expect: "100-continue",
  });
  let invited = false;
  request
    .on("error", () => {})
    .on("continue", () => {
      invited = true;
      request.end(body);
    });
  request.flushHeaders();
  const { status, body: said } = await answer;
  request.destroy();
  return { status, body: said, invited };
}

const login = (rig: Rig) =>
  rig.call("POST", "/auth/login", undefined, {
    form: { username: ADMIN.email, password: ADMIN.password },
  });

async function download(rig: Rig, { docId, size }: Upload): Promise<Answer> {
  const answer = await rig.call("GET", `/docs/${docId}/download`, await rig.admin());
  if (answer.status === 200) assert.equal(answer.bytes.length, size);
  return answer;
}

async function remove(rig: Rig, document: Upload): Promise<Answer> {
  document.deleted = "unknown";
  const target = `/docs/${document.docId}?force=true`;
  const answer = await rig.call("DELETE", target, await rig.admin());
  if (answer.status === 200) document.deleted = "yes";
  return answer;
}

async function readiness(rig: Rig): Promise<number> {
  const { status } = await fetch(`${rig.server?.url}/ready`, { headers: { Connection: "close" } });
  return status;
}
