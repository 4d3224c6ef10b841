import { Readable } from "node:stream";
import * as amqp from "amqplib";
import { unavailable, within } from "../errors.ts";
import type { Logger } from "../log.ts";
import { type Consumer, type ConsumingBroker, type Message, pause } from "./broker.ts";
import { type Received, type Source, startConsumer } from "./consumer.ts";

const CONNECT_WAIT_MS = 3_000;
const HANDSHAKE_TIMEOUT_MS = 10_000;
const CONFIRM_TIMEOUT_MS = 10_000;
const REPLY_TIMEOUT_MS = 5_000;
/** Before a message that could not be copied is given back. */
const COPY_PAUSE_MS = 5_000;
/** After two or three without a sign the peer is dead. */
const HEARTBEAT_SECONDS = 10;
/** Header that counts the deliveries before this one: a classic queue does not. */
const DELIVERIES = "x-deliveries";
const NAME = "nassaq-server";

const ignore = () => {};

/** RabbitMQ over AMQP 0-9-1. amqplib keeps the connection up; channels are opened when needed. */
export class RabbitMQBroker implements ConsumingBroker {
  readonly description: string;
  readonly #address: ReturnType<typeof parseAddress>;
  readonly #queue: string;
  readonly #log: Logger;
  readonly #consumers: Consumer[] = [];
  #recovering: amqp.RecoveringChannelModel | undefined;
  #fault: Error | undefined = new Error("RabbitMQ is not connected yet.");
  #publisher: Promise<amqp.ConfirmChannel> | undefined;
  readonly #returned = new Set<unknown>();

  /** `url` is `amqp://` or `amqps://`; `queue` is declared at each connection. */
  constructor(options: { url: string; queue: string; log: Logger }) {
    this.#address = parseAddress(options.url);
    this.description = `RabbitMQ at ${this.#address.host}`;
    this.#queue = options.queue;
    this.#log = options.log;
  }

  async connect(): Promise<void> {
    const { url, credentials } = this.#address;
    const recovering = await amqp.connect(url, {
      credentials,
      timeout: HANDSHAKE_TIMEOUT_MS,
      noDelay: true,
      clientProperties: { connection_name: NAME },
      recovery: { waitForConnect: false, initialDelay: 500, maxDelay: 2_000 },
    });
    this.#recovering = recovering;
    recovering.on("connect", (model: amqp.ChannelModel) => {
      this.#fault = undefined;
      this.#log.info("RabbitMQ is connected");
      this.#openPublisher().catch((error: Error) => {
        this.#log.warn("RabbitMQ takes no messages", { error });
        // Recovery does not see a connection end in its handshake.
        if (error.cause instanceof amqp.IllegalOperationError) model.emit("close", error.cause);
      });
    });
    for (const event of ["connect-failed", "disconnect"])
      recovering.on(event, (error: Error) => {
        const level = this.#fault ? "debug" : "warn";
        this.#fault = error;
        this.#log[level]("RabbitMQ is disconnected", { error });
      });
    recovering.on("error", ignore); // or the process would end
    const ready = recovering.waitForConnect().then(() => this.#openPublisher());
    await within(ready, CONNECT_WAIT_MS, "RabbitMQ did not answer").catch((error: unknown) =>
      this.#log.warn("RabbitMQ can't be reached", { error: this.#fault ?? error }),
    );
  }

  async publish(queue: string, { id: messageId, body }: Message): Promise<void> {
    await this.#send(queue, Buffer.from(body), { contentType: "application/json", messageId });
  }

  async consume(...[queue, handler, options]: Parameters<ConsumingBroker["consume"]>) {
    const source: Source = (...ends) => this.#receive(queue, options.prefetch, ...ends);
    const consumer = startConsumer(source, { queue, handler, ...options, log: this.#log });
    this.#consumers.push(consumer);
    return consumer;
  }

  async ping(): Promise<void> {
    await declare(await this.#openPublisher(), this.#queue);
  }

  async close(): Promise<void> {
    await Promise.all(this.#consumers.map((consumer) => consumer.cancel()));
    await quietly(async () => this.#recovering?.close());
  }

  /** Opens a channel and declares queues on it. Rejects with the `unavailable` AppError. */
  async #openChannel(queues: string[], onClose: () => void): Promise<amqp.ConfirmChannel> {
    if (this.#fault || !this.#recovering) throw unavailable("The message broker", this.#fault);
    const opening = this.#recovering.createConfirmChannel();
    try {
      const channel = await answered(opening, "RabbitMQ opened no channel");
      channel.on("close", onClose);
      channel.on("error", (error) => this.#log.warn("RabbitMQ closed a channel", { error }));
      for (const queue of queues) await declare(channel, queue);
      return channel;
    } catch (error) {
      opening.then((channel) => channel.close()).catch(ignore);
      throw error;
    }
  }

  #openPublisher(): Promise<amqp.ConfirmChannel> {
    if (this.#publisher) return this.#publisher;
    const forget = () => {
      if (this.#publisher === opening) this.#publisher = undefined;
    };
    const opening = this.#openChannel([this.#queue], forget);
    opening.then((channel) => {
      channel.on("return", ({ properties }) => this.#returned.add(properties.messageId));
    }, forget);
    this.#publisher = opening;
    return opening;
  }

  /** The return of an unroutable message comes before its confirm. */
  async #send(queue: string, content: Buffer, properties: amqp.Options.Publish): Promise<void> {
    const channel = await this.#openPublisher();
    const options = { ...properties, persistent: true, mandatory: true };
    const { promise: confirmed, resolve, reject } = Promise.withResolvers<void>();
    channel.publish("", queue, content, options, (error) => (error ? reject(error) : resolve()));
    await answered(confirmed, "RabbitMQ did not confirm the message", CONFIRM_TIMEOUT_MS);
    if (!this.#returned.delete(properties.messageId)) return;
    await declare(channel, queue); // the next attempt finds it
    throw new Error(`RabbitMQ could not route the message: it had no queue ${queue}.`);
  }

  /** The messages of one queue, on a channel of its own; ends with the channel. */
  async *#receive(
    queue: string,
    prefetch: number,
    signal: AbortSignal,
    drained: () => Promise<unknown>,
  ): AsyncGenerator<Received> {
    const inbox = new Readable({ objectMode: true, read() {}, signal }).on("error", ignore);
    const channel = await this.#openChannel([queue, `${queue}.failed`], () => inbox.push(null));
    const stop = () => quietly(() => channel.cancel(NAME));
    // At once: what a handler gives back must not come again to this consumer.
    signal.addEventListener("abort", stop);
    try {
      await answered(channel.prefetch(prefetch), "RabbitMQ set no prefetch");
      // Null: the queue was deleted.
      const arrive = (message: amqp.ConsumeMessage | null) => void inbox.push(message);
      const consuming = channel.consume(queue, arrive, { consumerTag: NAME });
      await answered(consuming, "RabbitMQ started no consumer");
      for await (const message of inbox) {
        const received = this.#received(queue, channel, message, signal);
        // Counted before it is tried again, or a message that kills its consumer comes for ever.
        if (message.fields.redelivered) await received.retry();
        else yield received;
      }
    } finally {
      signal.removeEventListener("abort", stop);
      if (signal.aborted) {
        await stop();
        await drained(); // the acks must be on their way before the channel closes
      }
      await quietly(() => channel.close());
    }
  }

  #received(
    queue: string,
    channel: amqp.Channel,
    message: amqp.ConsumeMessage,
    signal: AbortSignal,
  ): Received {
    const { messageId, contentType, headers } = message.properties;
    const earlier = Number(headers?.[DELIVERIES]) || 0;
    /** Acknowledges the original once its copy is safe; without one gives it back after a while. */
    const replaceBy = async (target: string, added: Record<string, unknown>) => {
      try {
        await this.#send(target, message.content, { messageId, contentType, headers: added });
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
  }
}

/** As the other parties do: any other argument would be refused (406). */
async function declare(channel: amqp.Channel, queue: string): Promise<void> {
  const declared = channel.assertQueue(queue, { durable: true });
  await answered(declared, `RabbitMQ did not declare the queue ${queue}`);
}

/** Rejects with the `unavailable` AppError when RabbitMQ says no or nothing. */
function answered<Reply>(answer: Promise<Reply>, what: string, limit = REPLY_TIMEOUT_MS) {
  return within(answer, limit, what).catch((error: unknown) => {
    throw unavailable("The message broker", error);
  });
}

const quietly = (ask: () => Promise<unknown>) =>
  answered(new Promise((done) => done(ask())), "RabbitMQ did not answer").catch(ignore);

/** The credentials are UTF-8: amqplib would read those of a URL as Latin-1. */
function parseAddress(url: string) {
  const address = new URL(url);
  const credentials = amqp.credentials.plain(
    decodeURIComponent(address.username || "guest"),
    decodeURIComponent(address.password || "guest"),
  );
  address.username = "";
  address.password = "";
  address.searchParams.append("heartbeat", String(HEARTBEAT_SECONDS)); // the first one counts
  return { url: address.href, credentials, host: address.host };
}
