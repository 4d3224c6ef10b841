import type { Logger } from "../log.ts";
import {
  type Broker,
  brokerUnavailable,
  type Consumer,
  type Delivery,
  type Message,
  RETRY_DELAY,
  within,
} from "./broker.ts";
import {
  type ConfirmChannel,
  createRabbitMQConnection,
  discard,
  isGone,
  type Options,
  type RabbitMQConnection,
  REPLY_TIMEOUT,
} from "./rabbitmq-connection.ts";
import { createRabbitMQConsumer, type RabbitMQConsumer } from "./rabbitmq-consumer.ts";

/** Milliseconds. */
const CONFIRM_TIMEOUT = 10_000;
const HANDLERS_TIMEOUT = 10_000;
const REFUSAL_MEMORY = 5_000;

/**
 * Reply codes about one operation rather than the connection (AMQP 0-9-1 §1.2): content too large, access refused, not
 * found, resource locked, precondition failed.
 */
const REFUSALS: readonly unknown[] = [311, 403, 404, 405, 406];

interface Publisher {
  channel: ConfirmChannel;
  underWay: Set<{ queue: string; id: string | undefined; returned: boolean }>;
  closed: boolean;
  error: Error | undefined;
}

interface Declaration {
  done: Promise<void>;
  refusedAt?: number;
}

/**
 * RabbitMQ over AMQP 0-9-1. Queues are declared durable and with no argument, as every other party
 * declares them; the server's own queue as soon as there is a connection, because RabbitMQ writes a
 * declaration to disk some seconds later. A failed message goes to the end of its queue with a
 * count in its headers, and at last to `<queue>.failed`.
 */
export class RabbitMQBroker implements Broker {
  readonly description: string;
  readonly #connection: RabbitMQConnection;
  readonly #log: Logger;
  readonly #queue: string;
  readonly #retryDelay: number;
  readonly #consumers = new Set<RabbitMQConsumer>();
  readonly #declarations = new Map<string, Declaration>();
  #publisher: Promise<Publisher> | undefined;

  /**
   * `url` is `amqp://` or `amqps://`; `queue` is declared at each connection; `retryDelay`, in
   * milliseconds, is `RETRY_DELAY` unless told.
   */
  constructor(options: { url: string; queue: string; log: Logger; retryDelay?: number }) {
    this.#log = options.log;
    this.#queue = options.queue;
    this.#retryDelay = options.retryDelay ?? RETRY_DELAY;
    const onChange = (connected: boolean) => {
      this.#publisher = undefined;
      this.#declarations.clear();
      if (!connected) return;
      this.#declare(options.queue).catch((error: unknown) =>
        this.#log.warn("The queue can't be declared", { queue: options.queue, error }),
      );
      for (const consumer of this.#consumers) consumer.attach();
    };
    this.#connection = createRabbitMQConnection({ url: options.url, log: options.log, onChange });
    this.description = this.#connection.description;
  }

  async connect(): Promise<void> {
    await this.#connection.connect();
    await this.#declare(this.#queue).catch(() => {}); // told already: see `onChange`
  }

  async publish(queue: string, message: Message): Promise<void> {
    await this.#send(queue, Buffer.from(message.body), {
      contentType: "application/json",
      messageId: message.id,
    });
  }

  async consume(
    queue: string,
    handler: (delivery: Delivery) => Promise<void>,
    options: { prefetch: number },
  ): Promise<Consumer> {
    const link = {
      openChannel: this.#connection.openChannel,
      declare: (name: string) => this.#declare(name),
      send: this.#send.bind(this),
    };
    const settings = { prefetch: options.prefetch, log: this.#log, retryDelay: this.#retryDelay };
    const consumer = createRabbitMQConsumer(link, queue, handler, settings);
    this.#consumers.add(consumer);
    await consumer.attach();
    return {
      cancel: async () => {
        this.#consumers.delete(consumer);
        await consumer.cancel();
      },
    };
  }

  async ping(): Promise<void> {
    this.#connection.assertNotBlocked(); // first: a blocked connection answers nothing
    discard(await this.#connection.openChannel());
    for (const [queue, { refusedAt }] of this.#declarations) {
      if (refusedAt !== undefined) await this.#declare(queue);
    }
  }

  async close(): Promise<void> {
    const cancelled = Promise.all([...this.#consumers].map((consumer) => consumer.cancel()));
    await within(cancelled, HANDLERS_TIMEOUT, "Handlers did not end").catch((error: unknown) =>
      this.#log.warn("RabbitMQ closes while handlers are running", { error }),
    );
    await this.#connection.close();
  }

  /** Declares a queue once a connection. A refusal is remembered for a while, so that callers don't make it loop. */
  #declare(queue: string): Promise<void> {
    const known = this.#declarations.get(queue);
    const outdated =
      known?.refusedAt !== undefined && Date.now() - known.refusedAt > REFUSAL_MEMORY;
    if (known && !outdated) return known.done;
    const declaration: Declaration = { done: this.#assertQueue(queue) };
    this.#declarations.set(queue, declaration);
    declaration.done.catch((error: { code?: unknown }) => {
      if (REFUSALS.includes(error.code)) declaration.refusedAt = Date.now();
      else if (this.#declarations.get(queue) === declaration) this.#declarations.delete(queue);
    });
    return declaration.done;
  }

  async #assertQueue(queue: string): Promise<void> {
    // A channel of its own: a refusal closes it, and would take publishes under way with it.
    const channel = await this.#connection.openChannel();
    try {
      const asserted = channel.assertQueue(queue, { durable: true });
      await within(asserted, REPLY_TIMEOUT, "RabbitMQ declared no queue");
    } catch (error) {
      throw failure(`to declare the queue ${queue} as durable and with no other argument`, error);
    } finally {
      discard(channel);
    }
  }

  /** The confirm channel, opened when first needed and again after it ended. */
  async #openPublisher(): Promise<Publisher> {
    const existing = this.#publisher;
    if (existing) return existing;
    const opening = this.#connection.openConfirmChannel().then((channel) => {
      const publisher: Publisher = {
        channel,
        underWay: new Set(),
        closed: false,
        error: undefined,
      };
      channel.on("error", (error) => {
        publisher.error = error;
      });
      channel.on("return", ({ fields, properties }) => {
        for (const publish of publisher.underWay) {
          if (publish.queue === fields.routingKey && publish.id === properties.messageId)
            publish.returned = true;
        }
      });
      channel.on("close", () => {
        publisher.closed = true;
        forget();
      });
      return publisher;
    });
    const forget = () => {
      if (this.#publisher === opening) this.#publisher = undefined;
    };
    opening.catch(forget);
    this.#publisher = opening;
    return opening;
  }

  /** Publishes and waits for this message's own confirm. An unroutable message is returned before it is confirmed. */
  async #send(queue: string, content: Buffer, properties: Options.Publish): Promise<void> {
    this.#connection.assertNotBlocked();
    await this.#declare(queue);
    const publisher = await this.#openPublisher();
    const publish = { queue, id: properties.messageId, returned: false };
    publisher.underWay.add(publish);
    try {
      const confirmed = new Promise<void>((resolve, reject) => {
        const options = { ...properties, persistent: true, mandatory: true };
        publisher.channel.publish("", queue, content, options, (error) =>
          error ? reject(error) : resolve(),
        );
      });
      await within(confirmed, CONFIRM_TIMEOUT, "RabbitMQ did not confirm the message");
    } catch (error) {
      if (publisher.closed || isGone(error))
        throw failure(`a message for ${queue}`, publisher.error ?? error);
      throw error;
    } finally {
      publisher.underWay.delete(publish);
    }
    if (publish.returned) {
      this.#declarations.delete(queue);
      throw new Error(`RabbitMQ could not route the message: it has no queue ${queue}.`);
    }
  }
}

/** What a channel that ended, or an operation that failed, means to the caller of `publish`. */
function failure(what: string, error: unknown): Error {
  const code = (error as { code?: unknown }).code;
  if (!REFUSALS.includes(code)) return brokerUnavailable(error);
  return Object.assign(new Error(`RabbitMQ refused ${what} with code ${code}.`, { cause: error }), {
    code,
  });
}
