import { EventEmitter, on } from "node:events";
import type { Channel, ConsumeMessage, Options } from "amqplib";
import { within } from "../errors.ts";
import { pause } from "./broker.ts";
import type { Received } from "./consumer.ts";

/** Header that counts the deliveries before this one: a classic queue does not. */
const DELIVERIES = "x-deliveries";
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
  const toReceived = (message: ConsumeMessage): Received => {
    const { messageId, contentType, headers } = message.properties;
    const earlier = Number(headers?.[DELIVERIES]) || 0;
    /** Acknowledges the original once its copy is safe; without one gives it back after a while. */
    const replaceBy = async (target: string, added: Record<string, unknown>) => {
      try {
        await link.send(target, message.content, { messageId, contentType, headers: added });
      } catch (error) {
        await pause(COPY_PAUSE_MS, signal);
        channel.nack(message);
        throw error;
      }
      channel.ack(message);
    };
    return {
      id: messageId ?? "",
      body: message.content.toString(),
      deliveries: earlier + 1,
      ack: async () => channel.ack(message),
      retry: () => replaceBy(queue, { [DELIVERIES]: earlier + 1 }),
      // One that is only given back counts, as if its consumer had died.
      release: () => replaceBy(queue, { [DELIVERIES]: earlier }),
      park: (reason) => replaceBy(`${queue}.failed`, { "x-failed-reason": reason }),
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
      const received = toReceived(message);
      // Counted before it is tried again, or a message that kills its consumer comes for ever.
      if (message.fields.redelivered) await received.retry();
      else yield received;
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

/** Waits for an answer that may fail or stay away. */
async function quietly(ask: () => Promise<unknown>): Promise<void> {
  try {
    await within(ask(), REPLY_TIMEOUT_MS, "RabbitMQ did not answer");
  } catch {}
}
