import type { Worker } from "node:worker_threads";
import type { Job } from "../../src/security/password-worker.ts";

/**
 * Calls `heard` for every password thread that this process starts from now on; the test runner's
 * own compiler starts others. Returns what ends that.
 */
export function watchPasswordThreads(heard: (worker: Worker) => void): () => void {
  const listen = (worker: Worker) => {
    if (worker.threadName === "password") heard(worker);
  };
  process.on("worker", listen);
  return () => process.off("worker", listen);
}

/** The same for every job of such a thread but its first: a thread is heard of after that. */
export function watchPasswordJobs(heard: (job: Job) => void): () => void {
  return watchPasswordThreads((worker) => {
    const { postMessage } = worker;
    worker.postMessage = (job) => {
      heard(job);
      postMessage.call(worker, job);
    };
  });
}
