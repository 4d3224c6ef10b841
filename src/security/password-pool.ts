import { Worker } from "node:worker_threads";
import { AppError, unavailable } from "../errors.ts";
import type { Answer, Job } from "./password-worker.ts";

/** Runs bcrypt jobs in worker threads, first come first served. */
export interface PasswordPool {
  /** Rejects with the `unavailable` AppError when the queue is full, the thread dies or the pool is closed. */
  run(job: Job): Promise<Answer["result"]>;
  /** Ends all threads; what they were doing and what waits is rejected. */
  close(): Promise<void>;
}

interface Task {
  job: Job;
  resolve: (result: Answer["result"]) => void;
  reject: (error: AppError) => void;
}

interface Thread {
  worker: Worker;
  task: Task | undefined;
}

const workerFile = import.meta.url.endsWith(".ts")
  ? "./password-worker.ts"
  : "./password-worker.js";

function failed(cause?: unknown): AppError {
  return unavailable("The password service", cause);
}

/** At most `threads` threads, started when first needed, and `queueLimit` jobs waiting for them. Idle threads do not keep the process alive. */
export function createPasswordPool(options: { threads: number; queueLimit: number }): PasswordPool {
  const threads = new Set<Thread>();
  const queue: Task[] = [];
  let closed = false;

  function startThread(): Thread {
    // Neither the flags nor the environment of this process: some flags (--input-type) keep a thread from starting, the
    // secrets are none of its business, and Node runs its TypeScript without help.
    const worker = new Worker(new URL(workerFile, import.meta.url), {
      name: "password",
      execArgv: [],
      env: {},
    });
    const thread: Thread = { worker, task: undefined };
    let cause: unknown;
    worker.on("message", ({ result }: Partial<Answer>) => {
      // Node itself sends messages too, to `node --watch`.
      if (result === undefined) return;
      const task = thread.task;
      thread.task = undefined;
      worker.unref();
      task?.resolve(result);
      dispatch();
    });
    worker.on("error", (error) => {
      cause = error;
    });
    worker.on("exit", () => {
      threads.delete(thread);
      thread.task?.reject(failed(cause));
      dispatch();
    });
    threads.add(thread);
    return thread;
  }

  function dispatch(): void {
    while (queue.length > 0) {
      const idle = [...threads].find((thread) => thread.task === undefined);
      if (idle === undefined && threads.size >= options.threads) return;
      const task = queue.shift() as Task;
      try {
        const thread = idle ?? startThread();
        thread.task = task;
        thread.worker.ref();
        thread.worker.postMessage(task.job);
      } catch (error) {
        // The system gives no further thread. Event handlers call this: a throw would end the process.
        task.reject(failed(error));
      }
    }
  }

  return {
    run(job) {
      if (closed) return Promise.reject(failed());
      return new Promise((resolve, reject) => {
        queue.push({ job, resolve, reject });
        dispatch();
        if (queue.length <= options.queueLimit) return;
        queue.pop();
        reject(
          new AppError("unavailable", "Too many sign-ins at the moment. Please try again.", {
            headers: { "Retry-After": "1" },
          }),
        );
      });
    },

    async close() {
      closed = true;
      for (const task of queue.splice(0)) task.reject(failed());
      await Promise.all([...threads].map((thread) => thread.worker.terminate()));
    },
  };
}
