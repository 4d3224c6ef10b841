import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { type Consumer, type Delivery, MAX_DELIVERIES } from "./broker.ts";
import { queueTarget, REQUEST_TIMEOUT, refusal, type ServiceBusHttp } from "./service-bus-http.ts";

/** Seconds that the service holds a receive open when the queue is empty. */
const POLL = 20;
/** Milliseconds. */
const SHORTEST_POLL = 1_000;
const SHORTEST_RENEWAL = 250;
const DEFAULT_LOCK = 30_000;
const LONGEST_PAUSE = 30_000;
const SETTLE_ATTEMPTS = 3;
const SETTLE_PAUSE = 1_000;

/** What the service answers when the lock has run out or the message is gone; 410 is told of queues, and of locks, too. */
const LOCK_LOST: readonly number[] = [404, 409, 410];

interface LockedMessage extends Delivery {
  /** Path of the lock. */
  target: string;
  /** Milliseconds that a lock lasts. */
  lock: number;
}

const ignore = () => {};

/** Peek-lock consumption of one queue: locked, renewed while it is worked on, then deleted or unlocked. */
export function startServiceBusConsumer(
  http: ServiceBusHttp,
  queue: string,
  handler: (delivery: Delivery) => Promise<void>,
  options: { prefetch: number; log: Logger; retryDelay: number },
): Consumer {
  const { prefetch, log, retryDelay } = options;
  const cancelled = new AbortController();
  const underWay = new Set<Promise<void>>();

  async function run(): Promise<void> {
    let failures = 0;
    while (!cancelled.signal.aborted) {
      if (underWay.size >= prefetch) {
        await Promise.race(underWay);
        continue;
      }
      try {
        const asked = performance.now();
        const message = await receive();
        failures = 0;
        if (message) start(message);
        else await pause(SHORTEST_POLL - (performance.now() - asked));
      } catch (error) {
        if (cancelled.signal.aborted) return;
        const milliseconds = Math.min(LONGEST_PAUSE, 1_000 * 2 ** failures);
        log[failures === 0 ? "warn" : "debug"]("A consumer waits for Service Bus", {
          queue,
          milliseconds,
          error,
        });
        failures += 1;
        await pause(milliseconds);
      }
    }
  }

  /** https://learn.microsoft.com/rest/api/servicebus/peek-lock-message-non-destructive-read */
  async function receive(): Promise<LockedMessage | undefined> {
    http.assertNotResting();
    const { status, headers, body } = await http.request({
      method: "POST",
      queue,
      target: `${queueTarget(queue)}/messages/head?timeout=${POLL}`,
      timeout: POLL * 1_000 + REQUEST_TIMEOUT,
      signal: cancelled.signal,
    });
    if (status === 204) return undefined;
    const location = headers.get("Location");
    if (status !== 201 || location === null) throw refusal(queue, status);
    const properties = JSON.parse(headers.get("BrokerProperties") ?? "{}");
    // Only differences of the service's own clock count: ours may be wrong.
    const lock = Date.parse(properties.LockedUntilUtc) - Date.parse(headers.get("Date") ?? "");
    return {
      id: String(properties.MessageId ?? ""),
      body,
      deliveries: Number(properties.DeliveryCount) || 1,
      target: new URL(location, "https://service").pathname,
      lock: lock > 0 ? lock : DEFAULT_LOCK,
    };
  }

  function start(message: LockedMessage): void {
    const work = handle(message)
      .catch((error: unknown) => log.error("A message could not be settled", { queue, error }))
      .finally(() => underWay.delete(work));
    underWay.add(work);
  }

  async function handle(message: LockedMessage): Promise<void> {
    const stopRenewing = keepLocked(message);
    try {
      await settle(message, (await isHandled(message)) ? "DELETE" : "PUT");
    } finally {
      stopRenewing();
    }
  }

  async function isHandled(message: LockedMessage): Promise<boolean> {
    const { id, body, deliveries } = message;
    if (deliveries > MAX_DELIVERIES) {
      await giveUp(message);
      return false;
    }
    try {
      await handler({ id, body, deliveries });
      return true;
    } catch (error) {
      log.warn("A message was not handled", { queue, message_id: id, deliveries, error });
      if (deliveries < MAX_DELIVERIES) await pause(retryDelay * 2 ** (deliveries - 1));
      return false;
    }
  }

  /** This API can't dead-letter: the service does, when the message was unlocked as often as the queue's MaxDeliveryCount says. */
  async function giveUp({ id, deliveries }: LockedMessage): Promise<void> {
    log.error("A message is given up; it waits for the queue's MaxDeliveryCount", {
      queue,
      message_id: id,
      deliveries,
    });
    await pause(retryDelay);
  }

  /** Renews the lock until the returned function is called, or it is lost. */
  function keepLocked({ id, target, lock }: LockedMessage): () => void {
    const timer = setInterval(
      async () => {
        try {
          const { status } = await http.request({ method: "POST", queue, target });
          if (status === 200) return;
          if (LOCK_LOST.includes(status)) clearInterval(timer);
          throw refusal(queue, status);
        } catch (error) {
          log.warn("A lock was not renewed", { queue, message_id: id, error });
        }
      },
      Math.max(SHORTEST_RENEWAL, lock / 3),
    );
    return () => clearInterval(timer);
  }

  /** Deletes (`DELETE`) or unlocks (`PUT`) the message. A lost lock means that it is, or will be, delivered again. */
  async function settle({ id, target }: LockedMessage, method: "DELETE" | "PUT"): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        const { status } = await http.request({ method, queue, target });
        if (status === 200 || status === 204) return;
        if (!LOCK_LOST.includes(status)) throw refusal(queue, status);
        log.warn("A lock was lost: the message will be delivered again", {
          queue,
          message_id: id,
          status,
        });
        return;
      } catch (error) {
        const again =
          error instanceof AppError && error.code === "unavailable" && attempt < SETTLE_ATTEMPTS;
        if (!again) throw error;
      }
      await sleep(SETTLE_PAUSE);
    }
  }

  async function pause(milliseconds: number): Promise<void> {
    if (milliseconds > 0)
      await sleep(milliseconds, undefined, { signal: cancelled.signal }).catch(ignore);
  }

  const running = run();
  return {
    async cancel() {
      cancelled.abort();
      await running;
      await Promise.all(underWay);
    },
  };
}
