import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { unavailable } from "../errors.ts";
import type { Answer, Job } from "./password-worker.ts";

interface Task extends PromiseWithResolvers<Answer["result"]> {
  job: Job;
  startedAt: number;
}

const WORKER = new URL(`password-worker${extname(import.meta.url)}`, import.meta.url);

/** Milliseconds: for a job, before one was measured, and without a job before the threads end. */
const FIRST_ESTIMATE = 300;
const IDLE = 5_000;

const failed = (cause?: unknown) => unavailable("The password service", cause, 1);

/** A task that a thread works on has left the queue, and stays. */
function leave(queue: Task[], task: Task, reason: unknown): void {
  const place = queue.indexOf(task);
  if (place === -1) return;
  queue.splice(place, 1);
  task.reject(reason);
}

function give(worker: Worker, task: Task): void {
  task.startedAt = performance.now();
  worker.ref();
  worker.postMessage(task.job);
}

/**
 * Runs bcrypt jobs in order in at most `threads` worker threads, while at most `queueLimit` wait,
 * and no longer than `queueMs`. Threads start when needed; idle ones let the process end, and end.
 */
export function createPasswordPool(threads: number, queueLimit: number, queueMs: number) {
  const tasks = new Map<Worker, Task | undefined>();
  const queue: Task[] = [];
  let closed = false;
  let duration = FIRST_ESTIMATE;
  let idle: NodeJS.Timeout | undefined;

  function startThread(): Worker {
    // Some flags of the process (--input-type) keep a thread from starting. It needs no secrets.
    const worker = new Worker(WORKER, { name: "password", execArgv: [], env: {} });
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
    worker.on("error", (cause) => tasks.get(worker)?.reject(failed(cause)));
    worker.on("exit", () => {
      tasks.get(worker)?.reject(failed());
      tasks.delete(worker);
      dispatch();
    });
    return worker;
  }

  async function end(): Promise<void> {
    for (const task of [...queue.splice(0), ...tasks.values()]) task?.reject(failed());
    const ending = Array.from(tasks.keys(), (worker) => worker.terminate());
    tasks.clear();
    await Promise.all(ending);
  }

  function dispatch(): void {
    clearTimeout(idle);
    while (queue.length > 0) {
      const free = [...tasks].find(([, task]) => task === undefined)?.[0];
      if (free === undefined && tasks.size >= threads) return;
      const task = queue.shift() as Task;
      try {
        const worker = free ?? startThread();
        tasks.set(worker, task);
        give(worker, task);
      } catch (error) {
        // Thrown in an event handler it would end the process.
        task.reject(failed(error));
      }
    }
    if ([...tasks.values()].every((task) => !task)) idle = setTimeout(end, IDLE).unref();
  }

  return {
    /**
     * 503 when the queue is full, the thread dies or the pool is closed; the reason of `signal`
     * when that is aborted while the job waits.
     */
    run(job: Job, signal?: AbortSignal): Promise<Answer["result"]> {
      const task = { job, startedAt: 0, ...Promise.withResolvers<Answer["result"]>() };
      queue.push(task);
      if (closed) leave(queue, task, failed());
      if (signal?.aborted) leave(queue, task, signal.reason);
      signal?.addEventListener("abort", () => leave(queue, task, signal.reason));
      dispatch();
      const isLate = (queue.length * duration) / threads > queueMs;
      if (queue.length > queueLimit || isLate) leave(queue, task, failed());
      return task.promise;
    },

    waiting: () => queue.length,

    /** Rejects what runs and what waits. */
    close(): Promise<void> {
      closed = true;
      return end();
    },
  };
}
