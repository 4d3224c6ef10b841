import { EventEmitter, on } from "node:events";
import type { Channel, ConsumeMessage, Options } from "amqplib";
import { within } from "../errors.ts";
import { pause } from "./broker.ts";
import type { Received } from "./consumer.ts";

/** Headers that count the deliveries that failed, and those in which the consumer died. */
const FAILURES = "x-deliveries";
const DEATHS = "x-consumer-deaths";
/** For the broker's answer to one operation. */
export const REPLY_TIMEOUT_MS = 5_000;
/** Before a message that could not be copied is given back. */
const COPY_PAUSE_MS = 5_000;
const TAG = "nassaq-server";

export interface Link {
  /** A channel with the queues declared on it; `onClose` is called when it ends. */
  openChannel(queues: string[], onClose: () => void): Promise<Channel>;
  /** Publishes and waits for the confirm. */
  send(queue: string, content: Buffer, properties: Options.Publish): Promise<void>;
}

/** The messages of one queue, on a channel of its own; ends with the channel or with `signal`. */
export async function* receive(
  link: Link,
  options: { queue: string; prefetch: number },
  signal: AbortSignal,
  drained: () => Promise<unknown>,
): AsyncGenerator<Received> {
  const { queue, prefetch } = options;
  const inbox = new EventEmitter();
  const end = () => inbox.emit("end");
  const channel = await link.openChannel([queue, `${queue}.failed`], end);
  const arrivals = on(inbox, "message", { signal, close: ["end"] });
  // Null: the queue was deleted.
  const arrive = (message: ConsumeMessage | null) =>
    message ? inbox.emit("message", message) : end();
  /** Acknowledges the original once its copy is safe; without one gives it back after a while. */
  const replaceBy = async (
    message: ConsumeMessage,
    target: string,
    headers: Record<string, unknown>,
  ) => {
    const { messageId, contentType } = message.properties;
    try {
      await link.send(target, message.content, { messageId, contentType, headers });
    } catch (error) {
      await pause(COPY_PAUSE_MS, signal);
      channel.nack(message);
      throw error;
    }
    channel.ack(message);
  };
  const again = (message: ConsumeMessage, failures: number, deaths: number) =>
    replaceBy(message, queue, { [FAILURES]: failures, [DEATHS]: deaths });
  const toReceived = (message: ConsumeMessage): Received => {
    const { failures, deaths } = counts(message);
    return {
      id: message.properties.messageId ?? "",
      body: message.content.toString(),
      deliveries: 1 + failures + deaths,
      failures,
      ack: async () => channel.ack(message),
      retry: () => again(message, failures + 1, deaths),
      // A message that is only given back would count as a death.
      release: () => again(message, failures, deaths),
      park: (reason) => replaceBy(message, `${queue}.failed`, { "x-failed-reason": reason }),
    };
  };
  const stop = () => quietly(() => channel.cancel(TAG));
  // At once: what a handler gives back must not come again to this consumer.
  signal.addEventListener("abort", stop);
  try {
    await within(channel.prefetch(prefetch), REPLY_TIMEOUT_MS, "RabbitMQ set no prefetch");
    const consuming = channel.consume(queue, arrive, { consumerTag: TAG });
    await within(consuming, REPLY_TIMEOUT_MS, "RabbitMQ started no consumer");
    for await (const [message] of arrivals) {
      if (signal.aborted) break;
      const { failures, deaths } = counts(message);
      // Counted before it is tried again, or a message that kills its consumer comes for ever.
      if (message.fields.redelivered) await again(message, failures, deaths + 1);
      else yield toReceived(message);
    }
  } finally {
    signal.removeEventListener("abort", stop);
    await arrivals.return?.();
    if (signal.aborted) {
      await stop();
      await drained(); // the acks must be on their way before the channel closes
    }
    await quietly(() => channel.close());
  }
}

/** A classic queue counts nothing itself. */
function counts({ properties: { headers } }: ConsumeMessage) {
  return { failures: Number(headers?.[FAILURES]) || 0, deaths: Number(headers?.[DEATHS]) || 0 };
}

/** Waits for an answer that may fail or stay away. */
async function quietly(ask: () => Promise<unknown>): Promise<void> {
  try {
    await within(ask(), REPLY_TIMEOUT_MS, "RabbitMQ did not answer");
  } catch {}
}
