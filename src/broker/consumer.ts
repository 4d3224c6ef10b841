import { within } from "../errors.ts";
import type { Logger } from "../log.ts";
import { type Consumer, type Delivery, type Handler, MAX_DELIVERIES, pause } from "./broker.ts";

/** Before the first redelivery, doubled for each after it. */
const RETRY_MS = 250;
/** Before a source that failed or ended is asked again. */
const SOURCE_PAUSE_MS = 1_000;
const HANDLERS_TIMEOUT_MS = 10_000;

/** A message that is not settled comes again by itself. */
export interface Received extends Delivery {
  ack(): Promise<void>;
  /** The next delivery has `deliveries` one higher. */
  retry(): Promise<void>;
  /** Moves it to `<queue>.failed`; `reason` has 400 characters at most. */
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
export function startConsumer(
  source: Source,
  options: { queue: string; handler: Handler; prefetch: number; log: Logger },
): Consumer {
  const { queue, handler, prefetch, log } = options;
  const cancelled = new AbortController();
  const { signal } = cancelled;
  const underWay = new Set<Promise<void>>();
  const drained = () => Promise.all(underWay);

  async function run(): Promise<void> {
    let isFailing = false;
    while (!signal.aborted) {
      try {
        for await (const received of source(signal, drained)) {
          isFailing = false;
          start(received);
          if (underWay.size >= prefetch) await Promise.race(underWay);
        }
      } catch (error) {
        const level = isFailing || signal.aborted ? "debug" : "warn";
        log[level]("A consumer waits for its queue", { queue, error });
        isFailing = true;
      }
      await pause(SOURCE_PAUSE_MS, signal);
    }
  }

  function start(received: Received): void {
    const work = handle(received)
      .catch((error: unknown) =>
        log.error("A message is not settled", { message_id: received.id, error }),
      )
      .finally(() => underWay.delete(work));
    underWay.add(work);
  }

  async function handle(received: Received): Promise<void> {
    const { id, body, deliveries } = received;
    if (deliveries > MAX_DELIVERIES)
      return park(received, "The consumer ended before it answered.");
    try {
      await handler({ id, body, deliveries });
    } catch (error) {
      log.warn("A message was not handled", { message_id: id, deliveries, error });
      if (deliveries === MAX_DELIVERIES) return park(received, String(error).slice(0, 400));
      await pause(RETRY_MS * 2 ** (deliveries - 1), signal);
      return received.retry();
    }
    await received.ack();
  }

  async function park(received: Received, reason: string): Promise<void> {
    await received.park(reason);
    log.error("A message is parked", { message_id: received.id, reason });
  }

  const running = run();
  return {
    async cancel() {
      cancelled.abort();
      const ended = running.then(drained);
      await within(ended, HANDLERS_TIMEOUT_MS, "Handlers did not end").catch((error: unknown) =>
        log.warn("A consumer ends while handlers are running", { error }),
      );
    },
  };
}
