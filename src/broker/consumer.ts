import { within } from "../errors.ts";
import type { Logger } from "../log.ts";
import {
  type ConsumeOptions,
  type Consumer,
  type Delivery,
  type Handler,
  MAX_DELIVERIES,
  pause,
} from "./broker.ts";

/** Before the first redelivery, as much longer before each after it. */
const RETRY_MS = 250;
/** Before a source that failed or ended is asked again. */
const SOURCE_PAUSE_MS = 1_000;
const HANDLERS_TIMEOUT_MS = 10_000;

/** A message that is not settled comes again by itself, as after `retry`. */
export interface Received extends Delivery {
  ack(): Promise<void>;
  /** The next delivery has `deliveries` one higher. */
  retry(): Promise<void>;
  /** Gives it back as if it had not been delivered. */
  release(): Promise<void>;
  /** Moves it to `<queue>.failed`; `reason` has 400 characters at most. */
  park(reason: string): Promise<void>;
}

/** Messages until `signal` is aborted; asked again when it ends. Stays open until `drained`. */
export type Source = (
  signal: AbortSignal,
  drained: () => Promise<unknown>,
) => AsyncIterable<Received>;

/** Bounded concurrency, attempts, parking and draining, for every consuming broker. */
export function startConsumer(
  source: Source,
  options: ConsumeOptions & { queue: string; handler: Handler; log: Logger },
): Consumer {
  const { queue, handler, prefetch, onGivenUp, log } = options;
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
          const work = handle(received)
            .catch((error: unknown) =>
              log.error("A message is not settled", { message_id: received.id, error }),
            )
            .finally(() => underWay.delete(work));
          underWay.add(work);
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

  async function handle(received: Received): Promise<void> {
    const { ack, retry, release, park, ...delivery } = received;
    const { id: message_id, deliveries } = delivery;
    try {
      signal.throwIfAborted();
      if (deliveries > MAX_DELIVERIES) throw new Error("The consumer ended before it answered.");
      await handler(delivery, signal);
    } catch (error) {
      if (signal.aborted) return release();
      log.warn("A message was not handled", { message_id, deliveries, error });
      let isLast = deliveries >= MAX_DELIVERIES;
      if (isLast)
        await onGivenUp?.(delivery).catch((error: unknown) => {
          isLast = false;
          log.warn("A message is not given up yet", { message_id, error });
        });
      if (isLast) {
        await park(String(error).slice(0, 400));
        return log.error("A message is parked", { message_id, error });
      }
      await pause(RETRY_MS * deliveries, signal);
      return retry();
    }
    await ack();
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
