import cluster, { type Worker } from "node:cluster";
import type { App } from "./app.ts";
import type { Config } from "./config.ts";
import type { Logger } from "./log.ts";
import { tellAddress } from "./program.ts";
import { keepRunning } from "./restarts.ts";

/** What a process says of itself when it listens; that it leads; that a message was committed. */
type Report = App["description"] | "leads" | "committed";

/** WEB_CONCURRENCY processes on one port; in each of them a server. What is returned stops it. */
export async function runCluster(config: Config, log: Logger, stop: (why: string) => void) {
  if (cluster.isPrimary) return startPrimary(config, log);
  const { startApp } = await import("./app.ts");
  const report = (what: Report) => process.send?.(what);
  const app = await startApp(config, log, { team: { notify: () => report("committed") } });
  process.on("message", async (order) => {
    if (order === "stop") stop("stop");
    if (order === "committed") app.notify();
    if (order !== "lead") return;
    log.info("leads");
    await app.lead();
    report("leads");
  });
  log.info("listens", app.description);
  report(app.description);
  return app;
}

/**
 * Starts a process that leads, then the others, and again what dies: another one leads then. One
 * that ends by itself before all listen ends the cluster with its exit code.
 */
function startPrimary(config: Config, log: Logger) {
  const { WEB_CONCURRENCY: size, METRICS_PORT: metricsPort } = config;
  const stopping = new AbortController();
  const listening = new Map<Worker, App["description"]>();
  const members: Promise<void>[] = [];
  let leader: Worker | undefined;
  let isReady = false;

  function chooseLeader(): void {
    [leader] = listening.keys();
    tell(leader, "lead");
  }

  function onReport(worker: Worker, report: Report): void {
    if (report === "committed") return void tell(leader, report);
    if (report === "leads") while (members.length < size) addMember();
    if (typeof report === "string") return;
    listening.set(worker, report);
    if (!leader) chooseLeader();
    if (isReady || listening.size < size) return;
    isReady = true;
    const metrics = Array.from(listening.values(), (process) => process.metrics);
    log.info("ready", { ...report, ...(report.metrics && { metrics }), processes: size });
    tellAddress(config, report.address);
  }

  function addMember(): void {
    const slot = members.length;
    const start = () => {
      const worker = cluster.fork(metricsPort && { METRICS_PORT: metricsPort + slot });
      worker.on("message", (report) => onReport(worker, report));
      worker.on("exit", () => {
        listening.delete(worker);
        if (worker === leader && !stopping.signal.aborted) chooseLeader();
      });
      return worker;
    };
    const isOver = ({ code }: { code?: number }) => {
      if (isReady || !code) return false;
      stop().then(() => process.exit(code));
      return true;
    };
    members.push(keepRunning("a process", log, stopping.signal, start, isOver));
  }

  async function stop(): Promise<void> {
    stopping.abort();
    const workers = Object.values(cluster.workers ?? {}) as Worker[];
    // What starts still hears no orders.
    for (const worker of workers)
      listening.has(worker) ? tell(worker, "stop") : worker.process.kill("SIGTERM");
    // A second after their own limit.
    const kill = () => workers.forEach((worker) => void worker.process.kill("SIGKILL"));
    setTimeout(kill, (config.SHUTDOWN_TIMEOUT + 2) * 1000).unref();
    await Promise.all(members);
  }

  addMember();
  return { stop };
}

/** Not heard, the failure to reach who has just died would end the primary. */
const tell = (worker: Worker | undefined, order: string) => worker?.send(order, () => {});
