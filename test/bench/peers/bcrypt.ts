import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { compareSync, hashSync } from "bcryptjs";

/** Compares passwords in as many threads as it is told; prints how many a second. */
const COST = 12;
if (isMainThread) {
  const [threads, seconds] = process.argv.slice(2).map(Number);
  const counts = Array.from({ length: threads ?? 1 }, () => {
    const worker = new Worker(new URL(import.meta.url), { workerData: seconds });
    return new Promise<number>((resolve, reject) => {
      worker.once("message", resolve).once("error", reject);
    });
  });
  const rates = await Promise.all(counts);
  process.stdout.write(`${rates.reduce((sum, rate) => sum + rate, 0)}\n`);
} else {
  const hash = hashSync("A long passphrase, 1", COST);
  const begun = performance.now();
  let count = 0;
  const elapsed = () => (performance.now() - begun) / 1000;
  for (; elapsed() < workerData; count++) compareSync("A long passphrase, 1", hash);
  parentPort?.postMessage(count / elapsed());
}
