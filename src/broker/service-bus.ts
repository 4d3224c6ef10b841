import type { Logger } from "../log.ts";
import {
  type Broker,
  type Consumer,
  type Delivery,
  type Message,
  RETRY_DELAY,
  within,
} from "./broker.ts";
import { startServiceBusConsumer } from "./service-bus-consumer.ts";
import {
  createServiceBusHttp,
  queueTarget,
  refusal,
  type ServiceBusHttp,
} from "./service-bus-http.ts";

/** Milliseconds. */
const PING_TIMEOUT = 3_000;
const HANDLERS_TIMEOUT = 10_000;

/**
 * Azure Service Bus over its HTTPS API. Queues exist already: making one needs more rights than sending. A message that fails
 * goes to the queue's own dead-letter queue (`<queue>/$DeadLetterQueue`); for that the queue's MaxDeliveryCount should be
 * `MAX_DELIVERIES`. With a higher one the handler is called no more often, and the message moves a little later.
 */
export class AzureServiceBusBroker implements Broker {
  readonly description: string;
  readonly #http: ServiceBusHttp;
  readonly #log: Logger;
  readonly #retryDelay: number;
  readonly #consumers = new Set<Consumer>();
  /** Why the last message was refused; cleared by the next that is not. */
  #refusal: Error | undefined;

  /** `retryDelay`, in milliseconds, is `RETRY_DELAY` unless told; `now` dates the tokens. */
  constructor(options: {
    connectionString: string;
    log: Logger;
    retryDelay?: number;
    now?: () => Date;
  }) {
    this.#http = createServiceBusHttp(options);
    this.description = this.#http.description;
    this.#log = options.log;
    this.#retryDelay = options.retryDelay ?? RETRY_DELAY;
  }

  async connect(): Promise<void> {
    await this.#http
      .reach(PING_TIMEOUT)
      .catch((error: unknown) => this.#log.warn("Service Bus can't be reached", { error }));
  }

  /** https://learn.microsoft.com/rest/api/servicebus/send-message-to-queue */
  async publish(queue: string, message: Message): Promise<void> {
    this.#http.assertNotResting();
    const { status } = await this.#http.request({
      method: "POST",
      queue,
      target: `${queueTarget(queue)}/messages`,
      headers: {
        "Content-Type": "application/json",
        BrokerProperties: asciiJson({ MessageId: message.id }),
      },
      body: message.body,
    });
    if (status === 201) {
      this.#refusal = undefined;
      return;
    }
    this.#refusal = refusal(queue, status);
    throw this.#refusal;
  }

  async consume(
    queue: string,
    handler: (delivery: Delivery) => Promise<void>,
    options: { prefetch: number },
  ): Promise<Consumer> {
    const settings = { prefetch: options.prefetch, log: this.#log, retryDelay: this.#retryDelay };
    const consumer = startServiceBusConsumer(this.#http, queue, handler, settings);
    this.#consumers.add(consumer);
    return {
      cancel: async () => {
        this.#consumers.delete(consumer);
        await consumer.cancel();
      },
    };
  }

  async ping(): Promise<void> {
    this.#http.assertNotResting();
    await this.#http.reach(PING_TIMEOUT);
    if (this.#refusal) throw this.#refusal;
  }

  async close(): Promise<void> {
    const cancelled = Promise.all([...this.#consumers].map((consumer) => consumer.cancel()));
    await within(cancelled, HANDLERS_TIMEOUT, "Handlers did not end").catch((error: unknown) =>
      this.#log.warn("Service Bus closes while handlers are running", { error }),
    );
  }
}

/** JSON that may stand in a header line. */
function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[^ -~]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
