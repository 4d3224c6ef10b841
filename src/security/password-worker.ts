import { parentPort } from "node:worker_threads";
import { compareSync, hashSync } from "bcryptjs";

export type Job =
  | { kind: "hash"; password: string; cost: number }
  | { kind: "compare"; password: string; hash: string };

/** A hash, or whether the comparison matched. */
export interface Answer {
  result: string | boolean;
}

parentPort?.on("message", (job: Job) => {
  const { kind, password } = job;
  const result = kind === "hash" ? hashSync(password, job.cost) : compareSync(password, job.hash);
  parentPort?.postMessage({ result } satisfies Answer);
});
