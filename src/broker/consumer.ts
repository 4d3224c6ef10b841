import { within } from "../errors.ts";
import type { Logger } from "../log.ts";
import {
  type ConsumeOptions,
  type Consumer,
  type Delivery,
  type Handler,
  MAX_DEATHS,
  MAX_DELIVERIES,
  pause,
} from "./broker.ts";

/** Before the first redelivery, doubled for each after it. */
const RETRY_MS = 250;
/** Before one that could not be given up comes again. */
const GIVE_UP_PAUSE_MS = 5_000;
/** Before a source that failed or ended is asked again. */
const SOURCE_PAUSE_MS = 1_000;
const HANDLERS_TIMEOUT_MS = 10_000;

/** A message that is not settled comes again by itself, and its consumer counts as dead. */
export interface Received extends Delivery {
  /** Earlier deliveries whose handler failed. In the others the consumer died. */
  failures: number;
  ack(): Promise<void>;
  /** The next delivery has `deliveries` and `failures` one higher. */
  retry(): Promise<void>;
  /** Gives it back as if it had not been delivered. */
  release(): Promise<void>;
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
    if (signal.aborted) return received.release();
    const { id, body, deliveries, failures } = received;
    const refusal = refusalOf(received);
    if (refusal) return giveUp(received, deliveries - 1, refusal);
    try {
      await handler({ id, body, deliveries }, signal);
    } catch (error) {
      if (signal.aborted) return received.release();
      log.warn("A message was not handled", { message_id: id, deliveries, error });
      if (failures + 1 >= MAX_DELIVERIES)
        return giveUp(received, deliveries, String(error).slice(0, 400));
      await pause(RETRY_MS * 2 ** failures, signal);
      return received.retry();
    }
    await received.ack();
  }

  async function giveUp(received: Received, deliveries: number, reason: string): Promise<void> {
    const { id, body } = received;
    try {
      await onGivenUp?.({ id, body, deliveries }, reason);
    } catch (error) {
      log.warn("A message is not given up yet", { message_id: id, reason, error });
      await pause(GIVE_UP_PAUSE_MS, signal);
      return received.retry();
    }
    await received.park(reason);
    log.error("A message is parked", { message_id: id, reason });
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

/** Why a message is not handled once more. */
function refusalOf({ deliveries, failures }: Received): string | undefined {
  if (deliveries - 1 - failures >= MAX_DEATHS) return "The consumer ended before it answered.";
  return failures >= MAX_DELIVERIES ? "It failed too often." : undefined;
}
