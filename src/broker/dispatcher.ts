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

/** Messages published at once. */
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

interface Parts {
  database: Database;
  broker: Broker;
  log: Logger;
  now: () => Date;
}

/**
 * Sends what is in the outbox, oldest first, and removes it once it is confirmed. While the broker
 * is away, one message in each pause is tried. A refused message holds up no other.
 */
export class Dispatcher {
  readonly #parts: Parts;
  readonly #stopping = new AbortController();
  #news = new AbortController();
  #running: Promise<void> | undefined;
  #isAway = false;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** A message was committed: look now. */
  notify(): void {
    this.#news.abort();
  }

  /** Waits for publishes under way. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#news.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      this.#news = new AbortController(); // what is notified during the look counts
      try {
        const isEmpty = await this.#sendBatch();
        if (isEmpty) await pause(PAUSE_MS, this.#news.signal);
      } catch (error) {
        this.#parts.log[this.#isAway ? "debug" : "warn"]("The outbox waits", { error });
        this.#isAway = true;
        await pause(PAUSE_MS, this.#stopping.signal);
      }
    }
  }

  /** Whether nothing was due. Throws when the broker or the database is away. */
  async #sendBatch(): Promise<boolean> {
    const { database, now } = this.#parts;
    const claim = {
      claimant: randomUUID(),
      now: now(),
      until: new Date(now().getTime() + CLAIM_MS),
      limit: this.#isAway ? 1 : BATCH,
    };
    const messages = await claimFromOutbox(database, claim);
    if (messages.length === 0) return true;
    const sending = messages.map((message) => this.#send(message, claim.claimant));
    const failed = (await Promise.allSettled(sending)).find(({ status }) => status === "rejected");
    if (failed?.status === "rejected") throw failed.reason;
    this.#isAway = false;
    return false;
  }

  /** Sends a claimed message and removes it, or gives it back. */
  async #send(message: OutboxMessage, claimant: string): Promise<void> {
    const { database, broker, log, now } = this.#parts;
    const { outbox_id: outboxId, queue, message_id, body, attempts } = message;
    try {
      const published = broker.publish(queue, { id: message_id, body });
      await within(published, PUBLISH_MS, "The broker did not answer");
    } catch (error) {
      const delay = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempts);
      const due = new Date(now().getTime() + delay);
      const isUnavailable = error instanceof AppError && error.code === "unavailable";
      const isAway = isUnavailable || error instanceof TimedOut;
      const reason = String(isUnavailable ? (error.cause ?? error) : error).slice(0, 400);
      await releaseOutboxMessage(database, { outboxId, claimant, due, error: reason });
      if (isAway) throw error;
      log.warn("A message was refused", { queue, message_id, delay, error });
      return;
    }
    await confirmOutboxMessage(database, outboxId);
  }
}
