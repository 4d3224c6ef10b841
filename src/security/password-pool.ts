import { Worker } from "node:worker_threads";
import { AppError, unavailable } from "../errors.ts";
import type { Answer, Job } from "./password-worker.ts";

interface Task {
  job: Job;
  resolve: (result: Answer["result"]) => void;
  reject: (error: AppError) => void;
}

const WORKER = new URL(
  import.meta.url.endsWith(".ts") ? "./password-worker.ts" : "./password-worker.js",
  import.meta.url,
);

const failed = (cause?: unknown) => unavailable("The password service", cause);

const busy = () =>
  new AppError("unavailable", "Too many sign-ins at the moment. Please try again.", {
    headers: { "Retry-After": "1" },
  });

/**
 * Runs bcrypt jobs in at most `threads` worker threads, first come first served, while at most
 * `queueLimit` wait. Threads start when first needed; idle ones do not keep the process alive.
 */
export function createPasswordPool(threads: number, queueLimit: number) {
  /** What each thread works on. */
  const tasks = new Map<Worker, Task | undefined>();
  const queue: Task[] = [];
  let closed = false;

  function startThread(): Worker {
    // Neither the flags nor the environment of this process: some flags (--input-type) keep a
    // thread from starting, and the secrets are none of its business.
    const worker = new Worker(WORKER, { name: "password", execArgv: [], env: {} });
    let cause: unknown;
    worker.on("message", ({ result }: Partial<Answer>) => {
      // Node itself sends messages too, to `node --watch`.
      if (result === undefined) return;
      tasks.get(worker)?.resolve(result);
      tasks.set(worker, undefined);
      worker.unref();
      dispatch();
    });
    worker.on("error", (error) => {
      cause = error;
    });
    worker.on("exit", () => {
      tasks.get(worker)?.reject(failed(cause));
      tasks.delete(worker);
      dispatch();
    });
    return worker;
  }

  function dispatch(): void {
    while (queue.length > 0) {
      const idle = [...tasks].find(([, task]) => task === undefined)?.[0];
      if (idle === undefined && tasks.size >= threads) return;
      const task = queue.shift() as Task;
      try {
        const worker = idle ?? startThread();
        tasks.set(worker, task);
        worker.ref();
        worker.postMessage(task.job);
      } catch (error) {
        // The system gives no further thread. A throw from an event handler would end the process.
        task.reject(failed(error));
      }
    }
  }

  return {
    /** Rejects with `unavailable` when the queue is full, the thread dies or the pool is closed. */
    run(job: Job): Promise<Answer["result"]> {
      const { promise, resolve, reject } = Promise.withResolvers<Answer["result"]>();
      if (closed) reject(failed());
      else queue.push({ job, resolve, reject });
      dispatch();
      if (queue.length > queueLimit) queue.pop()?.reject(busy());
      return promise;
    },

    /** Ends all threads; what they were doing and what waits is rejected. */
    async close(): Promise<void> {
      closed = true;
      for (const task of queue.splice(0)) task.reject(failed());
      await Promise.all(Array.from(tasks.keys(), (worker) => worker.terminate()));
    },
  };
}
