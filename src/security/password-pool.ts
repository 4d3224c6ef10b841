import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { type AppError, unavailable } from "../errors.ts";
import type { Answer, Job } from "./password-worker.ts";

interface Task {
  job: Job;
  resolve: (result: Answer["result"]) => void;
  reject: (error: AppError) => void;
}

/** `.ts` or, compiled, `.js`. */
const WORKER = new URL(`password-worker${extname(import.meta.url)}`, import.meta.url);

const failed = (cause?: unknown) => unavailable("The password service", cause, 1);

/**
 * Runs bcrypt jobs in at most `threads` worker threads, in order, while at most `queueLimit` wait.
 * Threads start when first needed. Idle ones do not keep the process alive.
 */
export function createPasswordPool(threads: number, queueLimit: number) {
  const tasks = new Map<Worker, Task | undefined>();
  const queue: Task[] = [];
  let closed = false;

  function startThread(): Worker {
    // Some flags of the process (--input-type) keep a thread from starting. It needs no secrets.
    const worker = new Worker(WORKER, { name: "password", execArgv: [], env: {} });
    let cause: unknown;
    worker.on("message", ({ result }: Partial<Answer>) => {
      // `node --watch` sends messages too.
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
        // A throw from an event handler would end the process.
        task.reject(failed(error));
      }
    }
  }

  return {
    /** Rejects with 503 when the queue is full, the thread dies or the pool is closed. */
    run(job: Job): Promise<Answer["result"]> {
      const { promise, resolve, reject } = Promise.withResolvers<Answer["result"]>();
      if (closed) reject(failed());
      else queue.push({ job, resolve, reject });
      dispatch();
      if (queue.length > queueLimit) queue.pop()?.reject(failed());
      return promise;
    },

    /** Rejects what runs and what waits. */
    async close(): Promise<void> {
      closed = true;
      for (const task of queue.splice(0)) task.reject(failed());
      await Promise.all(Array.from(tasks.keys(), (worker) => worker.terminate()));
    },
  };
}
