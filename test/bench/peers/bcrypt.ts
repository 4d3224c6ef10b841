import { createServer, type ServerResponse } from "node:http";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import { compareSync, hashSync } from "bcryptjs";

/** Compares a password for each login, in as many threads as it is told, and does nothing else. */
const PASSWORD = "A long passphrase, 1";
const { HOST, PORT, BENCH_THREADS } = process.env;
if (isMainThread) {
  const waiting: ServerResponse[] = [];
  const idle: (() => void)[] = [];
  for (let thread = 0; thread < Number(BENCH_THREADS); thread++) {
    const worker = new Worker(new URL(import.meta.url));
    const next = () => {
      const response = waiting.shift();
      if (!response) return void idle.push(next);
      worker.once("message", () => {
        response.writeHead(204).end();
        next();
      });
      worker.postMessage("compare");
    };
    next();
  }
  const server = createServer((request, response) => {
    request.resume();
    if (request.method === "GET") return void response.writeHead(204).end();
    waiting.push(response);
    idle.shift()?.();
  });
  server.listen(Number(PORT), HOST);
} else {
  const hash = hashSync(PASSWORD, 12);
  parentPort?.on("message", () => parentPort?.postMessage(compareSync(PASSWORD, hash)));
}
