import { setTimeout as sleep } from "node:timers/promises";
import type { Queryable } from "../data/database.ts";

/** `body` is JSON text, sent byte for byte; `id` becomes the broker's message id. */
export interface Message {
  id: string;
  body: string;
}

/** A durable message queue: at least once, never lost. */
export interface Broker {
  /** For the `ready` line, without secrets. */
  readonly description: string;
  /** Returns within seconds whatever answers; it keeps trying by itself. */
  connect(): Promise<void>;
  /**
   * Resolves once the broker answers for the message. Rejects with `unavailable` when it takes
   * nothing now, with another error when it refuses this message or queue.
   */
  publish(queue: string, message: Message): Promise<void>;
  /** With the commit of `tx`; only where the queues are tables of the server's database. */
  enqueue?(tx: Queryable, queue: string, message: Message): Promise<void>;
  /** How many messages each queue has, parked ones too; only where the queue is in a table here. */
  depths?(): Promise<{ queue: string; messages: number }[]>;
  /** Throws within seconds when messages can't be published now. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** `deliveries` counts from 1. */
export interface Delivery extends Message {
  deliveries: number;
}

/** `signal` is aborted when the consumer is cancelled; who throws then gives the message back. */
export type Handler = (delivery: Delivery, signal: AbortSignal) => Promise<void>;

export interface ConsumeOptions {
  prefetch: number;
  /** Before a message is parked. When it throws the message comes again. */
  onGivenUp?: (delivery: Delivery) => Promise<void>;
}

export interface Consumer {
  /** Takes no new message; waits some seconds for the handlers under way. */
  cancel(): Promise<void>;
}

/** A broker whose messages this program can also take. */
export interface ConsumingBroker extends Broker {
  /**
   * Hands messages to `handler`; removes one when it resolved. One that failed `MAX_DELIVERIES`
   * times, or ended its consumer, is parked in `<queue>.failed` with the reason.
   */
  consume(queue: string, handler: Handler, options: ConsumeOptions): Promise<Consumer>;
}

/** Many, because a consumer may die of much else than of the message it has. */
export const MAX_DELIVERIES = 10;

/** Waits, but no longer once `signal` is aborted. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch(() => {});
}
