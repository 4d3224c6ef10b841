import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { Readable } from "node:stream";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { extract } from "../../src/worker/extraction.ts";
import { Unreadable } from "../../src/worker/limits.ts";
import { until } from "../support/wait.ts";
import { slowPdf } from "./hostile-files.ts";
import { pdfOfPages } from "./pdf-files.ts";
import { createReader, type Reader, sample, sourceOf } from "./reader.ts";

const SLOW = slowPdf(50_000);

/** Gone, or a zombie whose new parent doesn't ask for it. */
function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return process.platform === "linux" && /^State:\s+Z/m.test(statusOf(pid));
  } catch {
    return true;
  }
}
const statusOf = (pid: number | undefined) => readFileSync(`/proc/${pid}/status`, "utf8");

async function assertReads({ read }: Reader): Promise<void> {
  assert.match((await read(sample("notes.txt"))).extracted_text, /new building in May/);
}

test("an engine process that dies is an error, and the next document has a new one", async (context) => {
  const reader = createReader(context);
  const kill = () => void reader.processes.at(-1)?.kill("SIGKILL");
  await assert.rejects(reader.read(SLOW, kill), (error: Error) => {
    assert.ok(!(error instanceof Unreadable));
    return /^The engine ended with SIGKILL/.test(error.message);
  });
  await assertReads(reader);
  assert.equal(reader.processes.length, 2);
});

test("a signal ends the reading with its reason", async (context) => {
  const reader = createReader(context);
  const reason = new Error("Enough");
  const controller = new AbortController();
  const abort = () => controller.abort(reason);
  await assert.rejects(extract(sourceOf(SLOW), abort, controller.signal), reason);
  assert.ok(isGone(reader.processes[0]?.pid ?? 0));
  await assert.rejects(
    extract(sourceOf(SLOW), () => {}, controller.signal),
    reason,
  );
  const loading = new AbortController();
  const early = extract(sourceOf(SLOW), () => {}, loading.signal);
  loading.abort(reason);
  await assert.rejects(early, reason);
  const stuck = sourceOf(SLOW, () => new Readable({ read() {} }));
  const waiting = new AbortController();
  const opened = { ...stuck, open: () => stuck.open().finally(() => waiting.abort(reason)) };
  await assert.rejects(
    extract(opened, () => {}, waiting.signal),
    reason,
  );
  const asking = new AbortController();
  const never = () => {
    setImmediate(() => asking.abort(reason));
    return new Promise<Readable>(() => {});
  };
  const asked = { ...sourceOf(SLOW), open: never };
  await assert.rejects(
    extract(asked, () => {}, asking.signal),
    reason,
  );
  await assertReads(reader);
});

test("a source that fails, ends early or goes on is an error of its own", async (context) => {
  const reader = createReader(context);
  const { signal } = new AbortController();
  const read = (source: ReturnType<typeof sourceOf>) => extract(source, () => {}, signal);
  const lost = new Error("The storage is gone");
  const bytes = Buffer.alloc(500_000, "a ");
  await assert.rejects(
    read({ ...sourceOf(bytes), open: () => Promise.reject(lost) }),
    lost,
    "before the first byte",
  );
  async function* half() {
    yield bytes.subarray(0, 250_000);
    throw lost;
  }
  await assert.rejects(read(sourceOf(bytes, () => Readable.from(half()))), lost);
  for (const length of [499_999, 500_001]) {
    const other = () => Readable.from([Buffer.alloc(length, "a ")]);
    await assert.rejects(read(sourceOf(bytes, other)), /has not the 500000 bytes/);
  }
  await assertReads(reader);
});

test("no more of a document is fetched than the engine takes", async (context) => {
  const reader = createReader(context);
  await assertReads(reader);
  let fetched = 0;
  const piece = Buffer.alloc(100_000);
  const stream = () =>
    new Readable({
      read() {
        fetched += 1;
        this.push(fetched > 500 ? null : piece);
      },
    });
  const source = { ...sourceOf(piece, stream), size: 500 * piece.length };
  const reading = extract(source, () => {}, new AbortController().signal);
  const engine = reader.processes.at(-1);
  assert.ok(engine);
  engine.kill("SIGSTOP");
  const refused = assert.rejects(reading, /too much text/);
  await until(() => fetched > 0, "the first piece of the document");
  await sleep(500);
  assert.ok(fetched < 10, `${fetched} pieces for an engine that takes none`);
  engine.kill("SIGCONT");
  await refused;
  assert.equal(fetched, 501);
});

test("the engine process reads and writes no file of others, and starts no process", async (context) => {
  const reader = createReader(context);
  await assertReads(reader);
  const [engine] = reader.processes;
  assert.ok(engine);
  const flags = engine.spawnargs.slice(1, -2);
  const foreign = fileURLToPath(new URL("../../package.json", import.meta.url));
  const attempts = [
    `fs.readFileSync(${JSON.stringify(foreign)})`,
    `fs.writeFileSync(${JSON.stringify(engine.spawnargs.at(-2))} + ".new", "")`,
    'child_process.execSync("true")',
  ];
  for (const attempt of attempts) {
    const { stderr, status } = spawnSync(process.execPath, [...flags, "-e", attempt], { env: {} });
    assert.match(stderr.toString(), /ERR_ACCESS_DENIED/, attempt);
    assert.equal(status, 1);
  }
});

test("the engine process has no environment, and ends with its parent in the midst of a page", async (context) => {
  const program = fileURLToPath(new URL("./abandon.ts", import.meta.url));
  const child: ChildProcess = spawn(process.execPath, ["--import", "tsx", program], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, CANARY: "a secret" },
  });
  context.after(() => child.kill("SIGKILL"));
  assert.ok(child.stdin && child.stdout);
  child.stdin.end(SLOW);
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const pid = Number(line.toString());
  assert.ok(pid > 0 && !isGone(pid), `${line}`);
  if (process.platform === "linux") {
    const environment = readFileSync(`/proc/${pid}/environ`, "utf8");
    assert.doesNotMatch(environment, /CANARY|PATH|HOME/);
    assert.match(readFileSync(`/proc/${pid}/cmdline`, "utf8"), /\0--permission\0/);
  }
  child.kill("SIGKILL");
  await until(() => isGone(pid), "the end of an engine process without a parent", 60_000);
});

test("documents that are read at once have a process each", async (context) => {
  const { read, processes } = createReader(context);
  const words = ["one", "two", "three"];
  const texts = await Promise.all(words.map((word) => read(pdfOfPages([[word]]))));
  assert.deepEqual(
    texts.map((each) => each.extracted_text),
    words,
  );
  assert.equal(processes.length, 3);
  assert.ok(processes.every(({ pid }) => isGone(pid ?? 0)));
});
