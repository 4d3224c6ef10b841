import { within } from "../errors.ts";
import type { Logger } from "../log.ts";
import { type Consumer, type Delivery, type Handler, MAX_DELIVERIES, pause } from "./broker.ts";

/** Milliseconds before the first redelivery, doubled for each after it. */
const RETRY_DELAY = 250;
/** Milliseconds before a source that failed or ended is asked again. */
const SOURCE_PAUSE = 1_000;
const HANDLERS_TIMEOUT = 10_000;

/** A message from a source. One that is not settled comes again by itself. */
export interface Received extends Delivery {
  ack(): Promise<void>;
  /** Has it delivered again, with `deliveries` one higher. */
  retry(): Promise<void>;
  /** Moves it to `<queue>.failed`. `reason` has at most 400 characters. */
  park(reason: string): Promise<void>;
}

/**
 * The messages of one queue until `signal` is aborted. One that ended or threw before is called
 * again. What carries the answers stays open until `drained`.
 */
export type Source = (
  signal: AbortSignal,
  drained: () => Promise<unknown>,
) => AsyncIterable<Received>;

/** Bounded concurrency, attempts, parking and draining, for every consuming broker. */
export class QueueConsumer implements Consumer {
  readonly #queue: string;
  readonly #handler: Handler;
  readonly #log: Logger;
  readonly #cancelled = new AbortController();
  readonly #underWay = new Set<Promise<void>>();
  readonly #running: Promise<void>;

  constructor(
    source: Source,
    options: { queue: string; handler: Handler; prefetch: number; log: Logger },
  ) {
    this.#queue = options.queue;
    this.#handler = options.handler;
    this.#log = options.log;
    this.#running = this.#run(source, options.prefetch);
  }

  async cancel(): Promise<void> {
    this.#cancelled.abort();
    const ended = this.#running.then(() => this.#drained());
    await within(ended, HANDLERS_TIMEOUT, "Handlers did not end").catch((error: unknown) =>
      this.#log.warn("A consumer ends while handlers are running", { error }),
    );
  }

  async #run(source: Source, prefetch: number): Promise<void> {
    const { signal } = this.#cancelled;
    let isFailing = false;
    while (!signal.aborted) {
      try {
        for await (const received of source(signal, () => this.#drained())) {
          isFailing = false;
          this.#start(received);
          if (this.#underWay.size >= prefetch) await Promise.race(this.#underWay);
        }
      } catch (error) {
        const level = isFailing || signal.aborted ? "debug" : "warn";
        this.#log[level]("A consumer waits for its queue", { queue: this.#queue, error });
        isFailing = true;
      }
      await pause(SOURCE_PAUSE, signal);
    }
  }

  #start(received: Received): void {
    const work = this.#handle(received)
      .catch((error: unknown) =>
        this.#log.error("A message is not settled", { message_id: received.id, error }),
      )
      .finally(() => this.#underWay.delete(work));
    this.#underWay.add(work);
  }

  async #handle(received: Received): Promise<void> {
    const { id, body, deliveries } = received;
    if (deliveries > MAX_DELIVERIES)
      return this.#park(received, "The consumer ended before it answered.");
    try {
      await this.#handler({ id, body, deliveries });
    } catch (error) {
      this.#log.warn("A message was not handled", { message_id: id, deliveries, error });
      if (deliveries === MAX_DELIVERIES) return this.#park(received, String(error).slice(0, 400));
      await pause(RETRY_DELAY * 2 ** (deliveries - 1), this.#cancelled.signal);
      return received.retry();
    }
    await received.ack();
  }

  async #park(received: Received, reason: string): Promise<void> {
    await received.park(reason);
    this.#log.error("A message is parked", { message_id: received.id, reason });
  }

  #drained(): Promise<unknown> {
    return Promise.all(this.#underWay);
  }
}
