import { randomUUID } from "node:crypto";
import type { Database } from "../data/database.ts";
import {
  claimFromOutbox,
  confirmOutboxMessage,
  type OutboxMessage,
  releaseOutboxMessage,
} from "../data/outbox.ts";
import { AppError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { type Broker, failureReason, within } from "./broker.ts";

/** Messages published at once. */
const BATCH = 20;
/** Milliseconds. A claim outlasts a publish; what a dead process had claimed is sent by another after that time. */
const CLAIM = 20_000;
const STOP_TIMEOUT = 12_000;
/** Without a `notify`: how often to look for what other processes left. */
const IDLE_PAUSE = 5_000;
/** The first pause after a fault; doubled for each fault after it. */
const FAULT_PAUSE = 1_000;
const LONGEST_PAUSE = 30_000;
/** Timers and the clock of the rows are not the same: looking a little later finds what is due. */
const CLOCK_SLACK = 20;

export interface Dispatcher {
  start(): void;
  /** A message was committed: look now. */
  notify(): void;
  /** Waits for publishes under way, some seconds at most. What is not confirmed by then stays in the outbox. */
  stop(): Promise<void>;
}

/**
 * Sends what is in the outbox and removes it once the broker confirmed it: at least once, oldest first. While the broker
 * can't be reached no message is touched; one that the broker refuses waits longer and longer, and holds up no other.
 */
export function createDispatcher(parts: {
  database: Database;
  broker: Broker;
  log: Logger;
  now?: () => Date;
}): Dispatcher {
  const { database, broker, log, now = () => new Date() } = parts;
  /** Confirmed, but the row could not be removed: to be removed when it is claimed again, not to be sent again. */
  const confirmed = new Set<number>();
  let stopping = false;
  let notified = false;
  /** Batches in a row in which the broker could not be reached. */
  let outages = 0;
  /** When the first of the messages that failed is due again, on the clock of `performance.now()`. */
  let retryAt = Number.POSITIVE_INFINITY;
  let wake = (_stopping: boolean) => {};
  let running: Promise<void> | undefined;

  async function run(): Promise<void> {
    while (!stopping) {
      try {
        if (outages > 0) await waitForBroker();
        if (!stopping) await drain();
      } catch (error) {
        log.error("The outbox can't be read or written", { error });
        await pause(FAULT_PAUSE);
      }
    }
  }

  /** Sends one batch; waits when there was none. After an outage the batch is one message, to see whether it is over. */
  async function drain(): Promise<void> {
    notified = false;
    const claimant = randomUUID();
    const limit = outages > 0 ? 1 : BATCH;
    const at = now();
    const until = new Date(at.getTime() + CLAIM);
    const messages = await claimFromOutbox(database, { claimant, now: at, until, limit });
    if (messages.length === 0) {
      outages = 0;
      return idle();
    }
    const results = await Promise.allSettled(
      messages.map((message) => dispatch(message, claimant)),
    );
    const reached = results.map((result) => result.status === "fulfilled" && result.value);
    if (reached.includes(true)) outages = 0;
    else outages += 1;
    const fault = results.find((result) => result.status === "rejected");
    if (fault) throw fault.reason;
  }

  /** Sends one claimed message and removes it, or gives it back. Whether the broker could be reached; throws what the database throws. */
  async function dispatch(message: OutboxMessage, claimant: string): Promise<boolean> {
    const { outbox_id: id, queue, message_id, body, attempts } = message;
    if (!confirmed.has(id)) {
      try {
        await broker.publish(queue, { id: message_id, body });
      } catch (error) {
        const milliseconds = backoff(attempts);
        log.warn("A message was not sent", {
          queue,
          message_id,
          attempts: attempts + 1,
          milliseconds,
          error,
        });
        retryAt = Math.min(retryAt, performance.now() + milliseconds);
        const due = new Date(now().getTime() + milliseconds);
        const unreachable = error instanceof AppError && error.code === "unavailable";
        const reason = failureReason(unreachable && error.cause ? error.cause : error);
        await releaseOutboxMessage(database, { outboxId: id, claimant, due, error: reason });
        return !unreachable;
      }
    }
    confirmed.add(id);
    await confirmOutboxMessage(database, id);
    confirmed.delete(id);
    return true;
  }

  /** Pauses, then asks the broker until it answers. A `notify` does not shorten it: it would make a dead broker a hot loop. */
  async function waitForBroker(): Promise<void> {
    await pause(backoff(outages - 1));
    while (!stopping) {
      try {
        await broker.ping();
        return;
      } catch (error) {
        if (!(error instanceof AppError && error.code === "unavailable")) return;
      }
      await pause(FAULT_PAUSE);
    }
  }

  async function idle(): Promise<void> {
    const lookAt = Math.min(performance.now() + IDLE_PAUSE, retryAt + CLOCK_SLACK);
    if (!notified) await pause(Math.max(0, lookAt - performance.now()), { untilNotified: true });
    if (performance.now() >= retryAt) retryAt = Number.POSITIVE_INFINITY;
  }

  async function pause(milliseconds: number, { untilNotified = false } = {}): Promise<void> {
    if (stopping) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      wake = (always) => {
        if (!always && !untilNotified) return;
        clearTimeout(timer);
        resolve();
      };
    });
  }

  return {
    start() {
      running ??= run();
    },
    notify() {
      notified = true;
      wake(false);
    },
    async stop() {
      stopping = true;
      wake(true);
      await within(running ?? Promise.resolve(), STOP_TIMEOUT, "Publishes did not end").catch(
        (error) => log.warn("Messages are left in the outbox", { error }),
      );
    },
  };
}

function backoff(failures: number): number {
  return Math.min(LONGEST_PAUSE, FAULT_PAUSE * 2 ** failures);
}
