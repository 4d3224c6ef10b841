import { unavailable } from "../errors.ts";

/** `body` is JSON text, sent byte for byte as it is; `id` becomes the broker's message id. */
export interface Message {
  id: string;
  body: string;
}

/** A message being worked on; `deliveries` counts from 1. */
export interface Delivery extends Message {
  deliveries: number;
}

export interface Consumer {
  /** Takes no new message, waits for handlers under way. */
  cancel(): Promise<void>;
}

/** After this many failed deliveries a message is parked in `<queue>.failed` (Service Bus: its dead-letter queue). */
export const MAX_DELIVERIES = 5;

/** Milliseconds before the first redelivery; doubled for each one after it: 0.5 s, 1 s, 2 s, 4 s. */
export const RETRY_DELAY = 500;

/** A durable message queue: at least once, never lost. Implementations: `embedded.ts`, `rabbitmq.ts`, `service-bus.ts`. */
export interface Broker {
  /** What this is, for the `ready` line, without secrets. */
  readonly description: string;
  /** Starts connecting and returns within seconds whether or not the broker answered; it keeps trying by itself. */
  connect(): Promise<void>;
  /**
   * Resolves once the broker has taken responsibility for the message; rejects otherwise, also after a time-out: with the
   * `unavailable` AppError when the broker can't be reached, with another error when it refuses this queue or message.
   */
  publish(queue: string, message: Message): Promise<void>;
  /**
   * Hands messages to `handler`, at most `prefetch` at a time. Acknowledged after it resolves; when it rejects the message is
   * delivered again, up to `MAX_DELIVERIES` times, then parked with the reason. Goes on after a reconnect.
   */
  consume(
    queue: string,
    handler: (delivery: Delivery) => Promise<void>,
    options: { prefetch: number },
  ): Promise<Consumer>;
  /** Throws, in the two ways of `publish` and in a few seconds, when messages can't be published now. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** Why a handler failed, for whoever looks at the parked message: at most 400 characters. */
export function failureReason(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).slice(0, 400).toWellFormed();
}

/** The `unavailable` AppError of a broker; `cause` is for the log. */
export function brokerUnavailable(cause: unknown): Error {
  return unavailable("The message broker", cause);
}

/** `promise`, or after `milliseconds` the `unavailable` AppError: what did not happen is said by `what`. */
export async function within<Result>(
  promise: Promise<Result>,
  milliseconds: number,
  what: string,
): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(brokerUnavailable(new Error(`${what} within ${milliseconds} ms`))),
      milliseconds,
    );
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
