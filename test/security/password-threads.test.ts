import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { describe, test } from "node:test";
import type { Worker } from "node:worker_threads";
import { AppError } from "../../src/errors.ts";
import { createPasswords } from "../../src/security/passwords.ts";
import { watchPasswordThreads } from "../support/password-threads.ts";

describe("password threads", () => {
  const isUnavailable = (error: unknown) => {
    assert.ok(error instanceof AppError);
    assert.equal(error.code, "unavailable");
    assert.match(error.headers["Retry-After"] ?? "", /^\d+$/);
    return true;
  };
  const nextThread = () =>
    new Promise<Worker>((resolve) => {
      const stop = watchPasswordThreads((worker) => {
        stop();
        resolve(worker);
      });
    });

  test("no thread starts before it is needed, and no more than allowed", async () => {
    const workers: Worker[] = [];
    const stop = watchPasswordThreads((worker) => workers.push(worker));
    const passwords = createPasswords({ cost: 4, threads: 2 });
    try {
      assert.equal(workers.length, 0);
      await passwords.hash("x");
      assert.equal(workers.length, 1);
      await Promise.all(Array.from({ length: 8 }, () => passwords.hash("x")));
      assert.equal(workers.length, 2);
    } finally {
      stop();
      await passwords.close();
    }
  });

  test("who finds the queue full is told to come back in a second, the others are served", async () => {
    const passwords = createPasswords({ cost: 4, threads: 1, queueLimit: 3 });
    try {
      const results = await Promise.allSettled(
        Array.from({ length: 6 }, () => passwords.hash("x")),
      );
      assert.deepEqual(
        results.map((result) => result.status),
        ["fulfilled", "fulfilled", "fulfilled", "fulfilled", "rejected", "rejected"],
      );
      for (const result of results.slice(4)) {
        assert.ok(result.status === "rejected" && isUnavailable(result.reason));
        assert.equal(result.reason.headers["Retry-After"], "1");
      }
      assert.match(await passwords.hash("x"), /^\$2b/);
    } finally {
      await passwords.close();
    }
  });

  test("the queue is no longer than what the threads do in the time that is allowed", async () => {
    const passwords = createPasswords({ cost: 10, threads: 1, queueMs: 600 });
    try {
      // Enough for the estimate to be that of this machine.
      for (let warm = 0; warm < 20; warm++) await passwords.hash("x");
      const started = performance.now();
      const results = await Promise.allSettled(
        Array.from({ length: 60 }, () => passwords.hash("x")),
      );
      const passed = performance.now() - started;
      const kept = results.filter(({ status }) => status === "fulfilled").length;
      assert.ok(kept > 1 && kept < 60, `${kept} of 60`);
      // The one that a thread works on, and those that wait as long as is allowed.
      const each = passed / kept;
      assert.ok((kept - 1) * each < 3 * 600, `${kept} jobs of ${each} ms`);
      assert.ok(results.slice(0, kept).every(({ status }) => status === "fulfilled"));
      for (const result of results.slice(kept))
        assert.ok(result.status === "rejected" && isUnavailable(result.reason));
    } finally {
      await passwords.close();
    }
  });

  test("before anything was measured, the queue is one of ten seconds at the usual cost", async () => {
    const passwords = createPasswords({ cost: 4, threads: 1, queueLimit: 1000 });
    try {
      const results = await Promise.allSettled(
        Array.from({ length: 100 }, () => passwords.hash("x")),
      );
      const kept = results.filter(({ status }) => status === "fulfilled").length;
      assert.equal(kept, 34);
    } finally {
      await passwords.close();
    }
  });

  test("what is given up leaves the queue, and no other job does", async () => {
    const passwords = createPasswords({ cost: 10, threads: 1, queueLimit: 4 });
    const jobs: string[] = [];
    const stop = watchPasswordThreads((worker) => {
      const { postMessage } = worker;
      worker.postMessage = (job) => {
        jobs.push(job.password);
        postMessage.call(worker, job);
      };
    });
    try {
      await passwords.hash("the spy hears of a thread after its first job");
      const gone = new AbortController();
      const first = passwords.hash("first", gone.signal);
      const second = passwords.hash("second", gone.signal);
      const third = passwords.verify("third", undefined, gone.signal);
      const fourth = passwords.hash("fourth", new AbortController().signal);
      const refused = [second, third].map((job) =>
        assert.rejects(job, (error) => error === gone.signal.reason),
      );
      gone.abort(new Error("The client went away"));
      await Promise.all(refused);
      await assert.rejects(passwords.hash("late", gone.signal), /The client went away/);
      // A thread's work is not taken from it.
      assert.match(await first, /^\$2b\$10/);
      assert.match(await fourth, /^\$2b\$10/);
      assert.deepEqual(jobs, ["first", "fourth"]);
      // Those that left made room.
      await Promise.all(["a", "b", "c", "d", "e"].map((password) => passwords.hash(password)));
    } finally {
      stop();
      await passwords.close();
    }
  });

  test("jobs are answered in the order they came, each with its own result", async () => {
    const passwords = createPasswords({ cost: 4, threads: 1 });
    try {
      const hash = await passwords.hash("right");
      const finished: number[] = [];
      const attempts = Array.from({ length: 12 }, async (_, index) => {
        const matches = await passwords.verify(index % 3 === 0 ? "right" : "wrong", hash);
        finished.push(index);
        return matches;
      });
      assert.deepEqual(
        await Promise.all(attempts),
        attempts.map((_, index) => index % 3 === 0),
      );
      assert.deepEqual(
        finished,
        [...finished].sort((a, b) => a - b),
      );
    } finally {
      await passwords.close();
    }
  });

  test("what Node itself sends from a thread, under `node --watch`, is no answer", async () => {
    const passwords = createPasswords({ cost: 4, threads: 1 });
    try {
      const started = nextThread();
      const hash = passwords.hash("x");
      (await started).emit("message", { "watch:import": ["node:worker_threads"] });
      assert.match(await hash, /^\$2b\$04\$/);
    } finally {
      await passwords.close();
    }
  });

  test("a thread that dies fails its own job only and is replaced", async () => {
    const passwords = createPasswords({ cost: 12, threads: 1 });
    try {
      const started = nextThread();
      const first = passwords.hash("x");
      const second = passwords.verify("x");
      const failed = assert.rejects(first, isUnavailable);
      await (await started).terminate();
      await failed;
      assert.equal(await second, false);
    } finally {
      await passwords.close();
    }
  });

  test("a job that crashes its thread fails alone, without telling why, and the next is served", async () => {
    const passwords = createPasswords({ cost: 4, threads: 1 });
    const stop = watchPasswordThreads((worker) => {
      const { postMessage } = worker;
      worker.postMessage = (job) => postMessage.call(worker, { ...job, hash: undefined });
    });
    try {
      await passwords.hash("the spy hears of a thread after its first job");
      const crashed = passwords.verify("secret");
      stop();
      const next = passwords.hash("x");
      await assert.rejects(crashed, (error: unknown) => {
        assert.ok(isUnavailable(error));
        assert.match(String((error as AppError).cause), /arguments/);
        assert.doesNotMatch((error as AppError).message, /secret|arguments/);
        return true;
      });
      assert.match(await next, /^\$2b/);
    } finally {
      stop();
      await passwords.close();
    }
  });

  test("an idle thread that dies is replaced when there is work", async () => {
    const passwords = createPasswords({ cost: 4, threads: 1 });
    try {
      const started = nextThread();
      await passwords.hash("x");
      await (await started).terminate();
      assert.match(await passwords.hash("x"), /^\$2b/);
    } finally {
      await passwords.close();
    }
  });

  test("idle threads end after a while, and the next job starts one", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const passwords = createPasswords({ cost: 4, threads: 2 });
    const ended: Promise<unknown>[] = [];
    const stop = watchPasswordThreads((worker) => ended.push(once(worker, "exit")));
    try {
      await Promise.all([passwords.hash("x"), passwords.hash("x")]);
      t.mock.timers.tick(4_999);
      await passwords.hash("x");
      t.mock.timers.tick(4_999);
      const last = passwords.hash("x");
      t.mock.timers.tick(10_000);
      await last;
      assert.equal(ended.length, 2);
      t.mock.timers.tick(5_000);
      // A job that comes while they end is not theirs.
      const next = passwords.hash("x");
      await Promise.all(ended.slice(0, 2));
      assert.match(await next, /^\$2b/);
      assert.equal(ended.length, 3);
    } finally {
      stop();
      await passwords.close();
    }
  });

  test("closing fails what is running and what waits, then takes nothing more", async () => {
    const passwords = createPasswords({ cost: 12, threads: 1 });
    const jobs = [passwords.hash("x"), passwords.hash("x"), passwords.verify("x")];
    const settled = Promise.allSettled(jobs);
    await passwords.close();
    for (const result of await settled) {
      assert.ok(result.status === "rejected" && isUnavailable(result.reason));
    }
    await assert.rejects(passwords.verify("x", "y"), isUnavailable);
    await passwords.close();
  });

  test("idle threads do not keep the process alive, busy ones do", async () => {
    const program = `
      import { createPasswords } from ${JSON.stringify(new URL("../../src/security/passwords.ts", import.meta.url).href)};
      const passwords = createPasswords({ cost: 8, threads: 1 });
      Promise.all([passwords.hash("x"), passwords.hash("x"), passwords.hash("x")]).then((all) => console.log(all.length));
    `;
    const child = spawn(
      process.execPath,
      ["--import", "tsx", "--input-type=module", "--eval", program],
      {
        stdio: ["ignore", "pipe", "inherit"],
        timeout: 60_000,
      },
    );
    const [output, [code, signal]] = await Promise.all([text(child.stdout), once(child, "exit")]);
    assert.deepEqual([output, code, signal], ["3\n", 0, null]);
  });
});
