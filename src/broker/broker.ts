import { setTimeout as sleep } from "node:timers/promises";

/** `body` is JSON text, sent byte for byte as it is; `id` becomes the broker's message id. */
export interface Message {
  id: string;
  body: string;
}

/** A durable message queue: at least once, never lost. */
export interface Broker {
  /** What this is, for the `ready` line, without secrets. */
  readonly description: string;
  /** Returns within seconds whether or not the broker answered; it keeps trying by itself. */
  connect(): Promise<void>;
  /**
   * Resolves once the broker has taken responsibility for the message. Rejects with the
   * `unavailable` AppError when the broker can't be reached, says nothing for some seconds or takes
   * nothing now, with another error when it refuses this message or this queue.
   */
  publish(queue: string, message: Message): Promise<void>;
  /** Throws, within a few seconds, when messages can't be published now. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** A message being worked on; `deliveries` counts from 1. */
export interface Delivery extends Message {
  deliveries: number;
}

export type Handler = (delivery: Delivery) => Promise<void>;

export interface Consumer {
  /** Takes no new message; waits some seconds for the handlers under way. */
  cancel(): Promise<void>;
}

/** A broker whose messages this program can also take. */
export interface ConsumingBroker extends Broker {
  /**
   * Hands messages to `handler`, at most `prefetch` at a time; removes one when it resolved. One
   * that failed `MAX_DELIVERIES` times is parked in `<queue>.failed` with the reason.
   */
  consume(queue: string, handler: Handler, options: { prefetch: number }): Promise<Consumer>;
}

/** How often a message is delivered at most. */
export const MAX_DELIVERIES = 5;

/** Waits, but no longer once `signal` is aborted. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch(() => {});
}
