import { randomUUID } from "node:crypto";
import type { Database } from "../data/database.ts";
import {
  claimFromOutbox,
  confirmOutboxMessage,
  type OutboxMessage,
  releaseOutboxMessage,
} from "../data/outbox.ts";
import { AppError, TimedOut, within } from "../errors.ts";
import type { Logger } from "../log.ts";
import { type Broker, pause } from "./broker.ts";

const BATCH = 20;
/** A broker that says nothing for so long is away. */
const PUBLISH_MS = 12_000;
/** Longer than a publish: then another process sends what a dead one claimed. */
const CLAIM_MS = 15_000;
/** Between looks at the outbox, unless notified, and after a fault. */
const PAUSE_MS = 2_000;
/** Before a failed message is due again, doubled for each failure after it. */
const FIRST_DELAY_MS = 1_000;
const LONGEST_DELAY_MS = 30_000;

/**
 * Sends the outbox, oldest first, and removes what is confirmed. While the broker is away, one
 * message in each pause is tried. A refused message holds up no other.
 */
export function createDispatcher(parts: {
  database: Database;
  broker: Broker;
  log: Logger;
  now: () => Date;
}) {
  const { database, broker, log, now } = parts;
  const stopping = new AbortController();
  let news = new AbortController();
  let running: Promise<void> | undefined;
  let isAway = false;

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      news = new AbortController(); // what is notified during the look counts
      try {
        const isEmpty = await sendBatch();
        if (isEmpty) await pause(PAUSE_MS, news.signal);
      } catch (error) {
        log[isAway ? "debug" : "warn"]("The outbox waits", { error });
        isAway = true;
        await pause(PAUSE_MS, stopping.signal);
      }
    }
  }

  /** Whether nothing was due. Throws when the broker or the database is away. */
  async function sendBatch(): Promise<boolean> {
    const claimant = randomUUID();
    const until = new Date(now().getTime() + CLAIM_MS);
    const claim = { claimant, now: now(), until, limit: isAway ? 1 : BATCH };
    const messages = await claimFromOutbox(database, claim);
    const sent = await Promise.allSettled(messages.map((message) => send(message, claimant)));
    const failed = sent.find(({ status }) => status === "rejected");
    if (failed?.status === "rejected") throw failed.reason;
    if (messages.length > 0) isAway = false;
    return messages.length === 0;
  }

  async function send(message: OutboxMessage, claimant: string): Promise<void> {
    const { outbox_id: outboxId, queue, message_id, body, attempts } = message;
    try {
      const published = broker.publish(queue, { id: message_id, body });
      await within(published, PUBLISH_MS, "The broker did not answer");
    } catch (error) {
      const delay = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempts);
      const due = new Date(now().getTime() + delay);
      const isUnavailable = error instanceof AppError && error.code === "unavailable";
      const reason = String(isUnavailable ? (error.cause ?? error) : error).slice(0, 400);
      await releaseOutboxMessage(database, { outboxId, claimant, due, error: reason });
      if (isUnavailable || error instanceof TimedOut) throw error;
      return log.warn("A message was refused", { queue, message_id, delay, error });
    }
    await confirmOutboxMessage(database, outboxId);
  }

  return {
    start(): void {
      running ??= run();
    },

    /** A message was committed: look now. */
    notify: () => news.abort(),

    /** Waits for publishes under way. */
    async stop(): Promise<void> {
      stopping.abort();
      news.abort();
      await running;
    },
  };
}
