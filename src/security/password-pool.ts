import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { unavailable } from "../errors.ts";
import type { Answer, Job } from "./password-worker.ts";

interface Task {
  job: Job;
  startedAt: number;
  resolve: (result: Answer["result"]) => void;
  reject: (error: unknown) => void;
}

/** `.ts` or, compiled, `.js`. */
const WORKER = new URL(`password-worker${extname(import.meta.url)}`, import.meta.url);

/** What a job is thought to take, in milliseconds, before one was measured. */
const FIRST_ESTIMATE = 300;

const failed = (cause?: unknown) => unavailable("The password service", cause, 1);

/** A task that a thread works on is in no queue, and stays. */
function leave(queue: Task[], task: Task, reason: unknown): void {
  const place = queue.indexOf(task);
  if (place === -1) return;
  queue.splice(place, 1);
  task.reject(reason);
}

/**
 * Runs bcrypt jobs in at most `threads` worker threads, in order, while at most `queueLimit` wait,
 * and no longer than `queueMs`. Threads start when first needed. Idle ones do not keep the process
 * alive.
 */
export function createPasswordPool(threads: number, queueLimit: number, queueMs: number) {
  const tasks = new Map<Worker, Task | undefined>();
  const queue: Task[] = [];
  let closed = false;
  let duration = FIRST_ESTIMATE;

  function startThread(): Worker {
    // Some flags of the process (--input-type) keep a thread from starting. It needs no secrets.
    const worker = new Worker(WORKER, { name: "password", execArgv: [], env: {} });
    let cause: unknown;
    worker.on("message", ({ result }: Partial<Answer>) => {
      const task = tasks.get(worker);
      // `node --watch` sends messages too.
      if (result === undefined || task === undefined) return;
      duration += (performance.now() - task.startedAt - duration) / 8;
      task.resolve(result);
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
        task.startedAt = performance.now();
        worker.ref();
        worker.postMessage(task.job);
      } catch (error) {
        // A throw from an event handler would end the process.
        task.reject(failed(error));
      }
    }
  }

  return {
    /**
     * Rejects with 503 when the queue is full, the thread dies or the pool is closed. A job that
     * waits leaves the queue when `signal` is aborted, and rejects with its reason.
     */
    run(job: Job, signal?: AbortSignal): Promise<Answer["result"]> {
      const { promise, resolve, reject } = Promise.withResolvers<Answer["result"]>();
      const task = { job, startedAt: 0, resolve, reject };
      queue.push(task);
      if (closed) leave(queue, task, failed());
      if (signal?.aborted) leave(queue, task, signal.reason);
      signal?.addEventListener("abort", () => leave(queue, task, signal.reason));
      dispatch();
      const isLate = (queue.length * duration) / threads > queueMs;
      if (queue.length > queueLimit || isLate) leave(queue, task, failed());
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
