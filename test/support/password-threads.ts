import { Worker } from "node:worker_threads";
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

/** The same for every job that is given to such a thread. */
export function watchPasswordJobs(heard: (job: Job) => void): () => void {
  const { postMessage } = Worker.prototype;
  Worker.prototype.postMessage = function (this: Worker, job, ...more) {
    if (this.threadName === "password") heard(job);
    return postMessage.call(this, job, ...more);
  };
  return () => {
    Worker.prototype.postMessage = postMessage;
  };
}
