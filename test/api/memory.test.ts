import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { test } from "node:test";
import { type Answer, send } from "../support/client.ts";
import { compileServer, type ServerProcess, startServer } from "../support/server-process.ts";

const MIB = 1024 * 1024;
const LIMIT = 50 * MIB;
const GROWTH = 64 * MIB;
const ADMIN = { username: "admin@example.com", password: "Adm1nistrator!" };
const CHUNK = Buffer.alloc(64 * 1024, "0123456789abcdef");

/** Resident bytes of a process, from Linux's procfs. */
function residentBytes(pid: number): number {
  const [, kilobytes] =
    /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kilobytes) * 1024;
}

/** A form with one file of `size` bytes, made as it is sent. */
function* form(name: string, size: number): Generator<Buffer> {
  yield Buffer.from(
    `--x\r\nContent-Disposition: form-data; name="file"; filename="${name}"\r\n\r\n`,
  );
  yield* content(size);
  yield Buffer.from("\r\n--x--\r\n");
}

function* content(size: number): Generator<Buffer> {
  for (let left = size; left > 0; left -= CHUNK.length)
    yield CHUNK.subarray(0, Math.min(left, CHUNK.length));
}

test("ten uploads of 50 MB at once pass, ten of a byte more don't, in less than 64 MiB more memory", {
  skip: existsSync("/proc/self/status") ? false : "no /proc to read the memory of a process from",
}, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-memory-"));
  const env = {
    BOOTSTRAP_ADMIN_EMAIL: ADMIN.username,
    BOOTSTRAP_ADMIN_PASSWORD: ADMIN.password,
    LOG_LEVEL: "info",
    ACCESS_TOKEN_EXPIRE_MINUTES: "60",
  };
  let server: ServerProcess | undefined;
  let watching: NodeJS.Timeout | undefined;
  t.after(async () => {
    clearInterval(watching);
    server?.kill("SIGKILL");
    await server?.exit;
    await rm(folder, { recursive: true });
  });
  server = await startServer(folder, env, await compileServer(folder));
  const { url, pid } = server;
  let peak = 0;
  watching = setInterval(() => {
    peak = Math.max(peak, residentBytes(pid));
  }, 20);
  const { body } = await send(url, "POST", "/api/v1/auth/login", { form: ADMIN });
  const upload = (name: string, size: number): Promise<Answer> =>
    send(url, "POST", "/api/v1/docs/upload", {
      body: Readable.from(form(name, size)),
      headers: {
        Authorization: `Bearer ${body.access_token}`,
        "Content-Type": "multipart/form-data; boundary=x",
      },
    });
  const ten = (name: string, size: number) =>
    Promise.all(Array.from({ length: 10 }, (_, i) => upload(`${name}-${i}`, size)));

  // Idle is a server that has done each thing once.
  assert.equal((await upload("first", MIB)).status, 201);
  const idle = residentBytes(pid);
  peak = idle;

  const hash = createHash("sha256");
  for (const chunk of content(LIMIT)) hash.update(chunk);
  const sha256 = hash.digest("hex");
  for (const { status, body } of await ten("exact", LIMIT)) {
    assert.deepEqual([status, body.size, body.sha256], [201, LIMIT, sha256]);
  }
  const accepted = peak - idle;
  for (const { status, body } of await ten("over", LIMIT + 1)) {
    assert.deepEqual([status, body.detail], [413, "File too large, max limit is 50 MB"]);
  }
  t.diagnostic(
    `idle ${Math.round(idle / MIB)} MiB, growth ${Math.round(accepted / MIB)} MiB, with the refused ${Math.round((peak - idle) / MIB)} MiB`,
  );
  assert.ok(peak - idle < GROWTH, `grew by ${Math.round((peak - idle) / MIB)} MiB`);
});
