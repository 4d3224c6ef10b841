import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { readOrMakeSecret } from "../../src/security/secret-file.ts";

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "secret-"));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

describe("the secret file", () => {
  test("is made once, of 384 random bits, in a folder that is made too", async (t) => {
    const folder = join(await temporaryFolder(t), "deep", "data");
    const secret = readOrMakeSecret(folder);
    assert.match(secret, /^[\w-]{64}$/);
    assert.equal(readOrMakeSecret(folder), secret);
    assert.deepEqual(await readdir(folder), ["jwt-secret"]);
    assert.notEqual(readOrMakeSecret(join(folder, "other")), secret);
  });

  test("is readable by its owner only, whatever the process's mask", async (t) => {
    const folder = await temporaryFolder(t);
    const mask = process.umask(0);
    try {
      readOrMakeSecret(folder);
    } finally {
      process.umask(mask);
    }
    assert.equal((await stat(join(folder, "jwt-secret"))).mode & 0o777, 0o600);
  });

  test("stays as it is when there is one", async (t) => {
    const folder = await temporaryFolder(t);
    await writeFile(join(folder, "jwt-secret"), "chosen by hand");
    assert.equal(readOrMakeSecret(folder), "chosen by hand");
    assert.equal(await readFile(join(folder, "jwt-secret"), "utf8"), "chosen by hand");
  });

  test("that can't be written or read is the system's error", async (t) => {
    const folder = await temporaryFolder(t);
    await mkdir(join(folder, "jwt-secret"));
    assert.throws(() => readOrMakeSecret(folder), { code: "EISDIR" });
    await rm(join(folder, "jwt-secret"), { recursive: true });
    await writeFile(join(folder, "file"), "");
    assert.throws(() => readOrMakeSecret(join(folder, "file")), { code: "EEXIST" });
    assert.deepEqual(await readdir(folder), ["file"]);
  });
});
