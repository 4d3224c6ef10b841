import { constants, setPriority } from "node:os";
import type { ConsumingBroker } from "../broker/broker.ts";
import { type Config, ConfigError } from "../config.ts";
import type { Logger } from "../log.ts";
import { openParts } from "../parts.ts";
import { exitUnstarted, openProgram, stopOnSignals } from "../program.ts";
import { createClosers, type OnStop } from "../stopping.ts";
import { enginesInstalled } from "./engines.ts";
import { extract } from "./extraction.ts";
import { createJob } from "./job.ts";

/** One: a document's engine process takes a core and up to a gigabyte. */
const PREFETCH = 1;

async function work(config: Config, log: Logger, onStop: OnStop): Promise<void> {
  const { MESSAGE_BROKER_URL: url, OCR_QUEUE_NAME: queue } = config;
  if (url.kind === "service-bus")
    throw new ConfigError("the worker takes messages from RabbitMQ or the embedded queue only.");
  if (!enginesInstalled())
    throw new Error("the OCR engines are not installed. Run `npm ci --include=optional`.");
  const parts = await openParts(config, log, onStop);
  const job = createJob({ ...parts, extract, log });
  const broker = parts.broker as ConsumingBroker;
  const options = { prefetch: PREFETCH, onGivenUp: job.giveUp };
  const consumer = await broker.consume(queue, job.handle, options);
  onStop("consumer", () => consumer.cancel());
  log.info("ready", { pid: process.pid, queue, broker: broker.description });
}

const { config, log } = openProgram({ part: "worker" });
// Whoever waits for an answer of the server goes first. The engines inherit it.
setPriority(constants.priority.PRIORITY_LOW);
const { onStop, close } = createClosers(log, config.SHUTDOWN_TIMEOUT);
const stop = stopOnSignals(log, close);
// Beside a server: it ends with its server, however that ends.
process.on("disconnect", () => stop("disconnect"));
if (process.connected === false) stop("disconnect");
try {
  await work(config, log, onStop);
} catch (error) {
  exitUnstarted(log, error);
}
