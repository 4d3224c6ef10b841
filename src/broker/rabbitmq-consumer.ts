import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "../log.ts";
import { type Consumer, type Delivery, failureReason, MAX_DELIVERIES, within } from "./broker.ts";
import {
  type Channel,
  type ConsumeMessage,
  discard,
  type Options,
  REPLY_TIMEOUT,
} from "./rabbitmq-connection.ts";

/** Counts the deliveries of a message that failed. A classic queue knows only whether there was one. */
const DELIVERIES = "x-deliveries";
const LONGEST_PAUSE = 30_000;

/** What a consumer needs of the connection. */
interface Link {
  openChannel(): Promise<Channel>;
  declare(queue: string): Promise<void>;
  send(queue: string, content: Buffer, properties: Options.Publish): Promise<void>;
}

export interface RabbitMQConsumer extends Consumer {
  /** Starts taking messages, on a new channel; called at first and after each reconnect. Never rejects. */
  attach(): Promise<void>;
}

interface Session {
  channel: Channel;
  /** Aborted when the channel ends: the broker then delivers again whatever was not acknowledged. */
  ended: AbortSignal;
}

const ignore = () => {};

function failedDeliveries({ properties }: ConsumeMessage): number {
  const count: unknown = properties.headers?.[DELIVERIES];
  return typeof count === "number" && Number.isInteger(count) && count > 0 ? count : 0;
}

/** What a copy of `message` keeps. Not its expiry, which would lose it, nor `CC`, which would multiply it. */
function copiedProperties({ properties }: ConsumeMessage): Options.Publish {
  const { contentType, contentEncoding, messageId, correlationId, timestamp, type, appId } =
    properties;
  const { CC, [DELIVERIES]: _, ...headers } = properties.headers ?? {};
  return {
    contentType,
    contentEncoding,
    messageId,
    correlationId,
    timestamp,
    type,
    appId,
    headers,
  };
}

/** Consumes one queue on its own channel. A message is acknowledged only after it, or its copy, is safe elsewhere. */
export function createRabbitMQConsumer(
  link: Link,
  queue: string,
  handler: (delivery: Delivery) => Promise<void>,
  options: { prefetch: number; log: Logger; retryDelay: number },
): RabbitMQConsumer {
  const { prefetch, log, retryDelay } = options;
  const cancelled = new AbortController();
  const underWay = new Set<Promise<void>>();
  const waiting: (() => void)[] = [];
  let busy = 0;
  let attempt = 0;
  let failures = 0;
  let timer: NodeJS.Timeout | undefined;
  let current: { session: Session; tag: string } | undefined;

  async function attach(): Promise<void> {
    if (cancelled.signal.aborted) return;
    clearTimeout(timer);
    attempt += 1;
    const mine = attempt;
    let channel: Channel | undefined;
    try {
      await link.declare(queue);
      channel = await link.openChannel();
      const session = watch(channel, mine);
      await within(channel.prefetch(prefetch), REPLY_TIMEOUT, "RabbitMQ set no prefetch");
      const consuming = channel.consume(queue, (message) => receive(session, message));
      const { consumerTag } = await within(
        consuming,
        REPLY_TIMEOUT,
        "RabbitMQ started no consumer",
      );
      if (mine !== attempt) return discard(channel);
      current = { session, tag: consumerTag };
      failures = 0;
    } catch (error) {
      discard(channel);
      retry(mine, error);
    }
  }

  function watch(channel: Channel, mine: number): Session {
    const ended = new AbortController();
    channel.once("close", () => {
      ended.abort();
      if (current?.session.channel === channel) current = undefined;
      retry(mine, new Error("The channel ended."));
    });
    return { channel, ended: ended.signal };
  }

  /** Attaches again after a pause; a reconnect meanwhile does so at once. Only the newest attempt may. */
  function retry(mine: number, error: unknown): void {
    if (mine !== attempt || cancelled.signal.aborted) return;
    attempt += 1;
    const pause = Math.min(LONGEST_PAUSE, 1_000 * 2 ** failures);
    log[failures === 0 ? "warn" : "debug"]("A consumer waits for RabbitMQ", {
      queue,
      milliseconds: pause,
      error,
    });
    failures += 1;
    timer = setTimeout(attach, pause);
  }

  function receive(session: Session, message: ConsumeMessage | null): void {
    if (message === null) {
      discard(session.channel); // the broker cancelled us: the queue was deleted
      return;
    }
    const work = inTurn(session, message)
      .catch((error: unknown) => log.error("A message could not be settled", { queue, error }))
      .finally(() => underWay.delete(work));
    underWay.add(work);
  }

  /** After a reconnect handlers of the lost channel may still run: `prefetch` bounds them all together. */
  async function inTurn(session: Session, message: ConsumeMessage): Promise<void> {
    while (busy >= prefetch) await new Promise<void>((resolve) => waiting.push(resolve));
    busy += 1;
    try {
      if (cancelled.signal.aborted) answer(session, () => session.channel.nack(message));
      else if (!session.ended.aborted) await handle(session, message);
    } finally {
      busy -= 1;
      waiting.shift()?.();
    }
  }

  async function handle(session: Session, message: ConsumeMessage): Promise<void> {
    const id: string = message.properties.messageId ?? "";
    const failed = failedDeliveries(message);
    // An earlier delivery ended without an answer. It is counted before it is tried again, else a message that kills
    // its consumer would come back for ever.
    if (message.fields.redelivered) {
      return putBack(session, message, failed + 1, "The consumer ended before it answered.");
    }
    const deliveries = failed + 1;
    try {
      await handler({ id, body: message.content.toString(), deliveries });
    } catch (error) {
      log.warn("A message was not handled", { queue, message_id: id, deliveries, error });
      if (deliveries < MAX_DELIVERIES) await pause(session, retryDelay * 2 ** failed);
      return putBack(session, message, deliveries, failureReason(error));
    }
    answer(session, () => session.channel.ack(message));
  }

  /** Sends a copy that knows how often it failed, or parks it, and only then gives up the original. */
  async function putBack(
    session: Session,
    message: ConsumeMessage,
    deliveries: number,
    reason: string,
  ) {
    if (session.ended.aborted) return;
    const properties = copiedProperties(message);
    const parked = {
      "x-failed-reason": reason,
      "x-failed-deliveries": deliveries,
      "x-failed-queue": queue,
    };
    const park = deliveries >= MAX_DELIVERIES;
    const target = park ? `${queue}.failed` : queue;
    const added = park ? parked : { [DELIVERIES]: deliveries };
    try {
      await link.send(target, message.content, {
        ...properties,
        headers: { ...properties.headers, ...added },
      });
    } catch (error) {
      log.error("A failed message stays in its queue", { queue, target, error });
      await pause(session, LONGEST_PAUSE);
      return answer(session, () => session.channel.nack(message));
    }
    if (park)
      log.error("A message is parked", { queue: target, message_id: properties.messageId, reason });
    answer(session, () => session.channel.ack(message));
  }

  /** Waits, but no longer than the channel and the consumer last. */
  async function pause(session: Session, milliseconds: number): Promise<void> {
    const signal = AbortSignal.any([session.ended, cancelled.signal]);
    await sleep(milliseconds, undefined, { signal }).catch(ignore);
  }

  function answer(session: Session, send: () => void): void {
    if (session.ended.aborted) return;
    try {
      send();
    } catch (error) {
      log.debug("An answer came too late", { queue, error }); // the channel is closing: the message comes again
    }
  }

  async function cancel(): Promise<void> {
    cancelled.abort();
    clearTimeout(timer);
    attempt += 1;
    const ending = current;
    const quietly = (reply: Promise<unknown>) =>
      within(reply, REPLY_TIMEOUT, "RabbitMQ did not answer").catch(ignore);
    if (ending) await quietly(ending.session.channel.cancel(ending.tag));
    await Promise.all(underWay);
    // Closing the connection would overtake the last acknowledgements: the channel's own close comes after them.
    if (ending) await quietly(Promise.resolve().then(() => ending.session.channel.close()));
  }

  return { attach, cancel };
}
