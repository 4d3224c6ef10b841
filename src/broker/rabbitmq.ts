import {
  type Channel,
  type ChannelModel,
  type ConfirmChannel,
  connect,
  credentials,
  IllegalOperationError,
  type Options,
  type RecoveringChannelModel,
} from "amqplib";
import { unavailable, within } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { ConsumeOptions, Consumer, ConsumingBroker, Handler, Message } from "./broker.ts";
import { type Source, startConsumer } from "./consumer.ts";
import { REPLY_TIMEOUT_MS, receive } from "./rabbitmq-consumer.ts";

const CONNECT_WAIT_MS = 3_000;
const HANDSHAKE_TIMEOUT_MS = 10_000;
const CONFIRM_TIMEOUT_MS = 10_000;
/** After two or three without a sign the peer is dead. */
const HEARTBEAT_SECONDS = 10;

const ignore = () => {};

/** RabbitMQ over AMQP 0-9-1. amqplib keeps the connection up; channels are opened when needed. */
export class RabbitMQBroker implements ConsumingBroker {
  readonly description: string;
  readonly #address: ReturnType<typeof parseAddress>;
  readonly #queue: string;
  readonly #log: Logger;
  readonly #consumers: Consumer[] = [];
  #recovering: RecoveringChannelModel | undefined;
  /** Why the connection is down. */
  #fault: Error | undefined = new Error("RabbitMQ is not connected yet.");
  #publisher: Promise<ConfirmChannel> | undefined;
  /** Ids of messages that no queue took. */
  readonly #returned = new Set<unknown>();

  /** `url` is `amqp://` or `amqps://`; `queue` is declared at each connection. */
  constructor(options: { url: string; queue: string; log: Logger }) {
    this.#address = parseAddress(options.url);
    this.description = this.#address.description;
    this.#queue = options.queue;
    this.#log = options.log;
  }

  async connect(): Promise<void> {
    const recovering = await connect(this.#address.url, {
      credentials: this.#address.login,
      timeout: HANDSHAKE_TIMEOUT_MS,
      noDelay: true,
      clientProperties: { connection_name: "nassaq-server" },
      recovery: { waitForConnect: false, initialDelay: 500, maxDelay: 2_000 },
    });
    this.#recovering = recovering;
    this.#listen(recovering);
    const ready = recovering.waitForConnect().then(() => this.#openPublisher());
    await within(ready, CONNECT_WAIT_MS, "RabbitMQ did not answer").catch((error: unknown) =>
      this.#log.warn("RabbitMQ can't be reached", { error: this.#fault ?? error }),
    );
  }

  async publish(queue: string, message: Message): Promise<void> {
    const properties = { contentType: "application/json", messageId: message.id };
    await this.#send(queue, Buffer.from(message.body), properties);
  }

  async consume(queue: string, handler: Handler, options: ConsumeOptions): Promise<Consumer> {
    const link = { openChannel: this.#openChannel.bind(this), send: this.#send.bind(this) };
    const source: Source = (...ends) => receive(link, { queue, ...options }, ...ends);
    const consumer = startConsumer(source, { queue, handler, ...options, log: this.#log });
    this.#consumers.push(consumer);
    return consumer;
  }

  async ping(): Promise<void> {
    const channel = await this.#openPublisher();
    await declare(channel, this.#queue);
  }

  async close(): Promise<void> {
    await Promise.all(this.#consumers.map((consumer) => consumer.cancel()));
    const closing = this.#recovering?.close() ?? Promise.resolve();
    await within(closing, REPLY_TIMEOUT_MS, "RabbitMQ did not close").catch(ignore);
  }

  #listen(recovering: RecoveringChannelModel): void {
    recovering.on("connect", (model: ChannelModel) => {
      this.#fault = undefined;
      this.#log.info("RabbitMQ is connected");
      this.#openPublisher().catch((error: Error) => {
        this.#log.warn("RabbitMQ takes no messages", { error });
        // Recovery does not see a connection end in its handshake.
        if (error.cause instanceof IllegalOperationError) model.emit("close", error.cause);
      });
    });
    recovering.on("disconnect", (error: Error) => {
      this.#fault = error;
      this.#log.warn("RabbitMQ is disconnected", { error });
    });
    recovering.on("connect-failed", (error: Error) => {
      this.#fault = error;
    });
    recovering.on("error", ignore); // or the process would end
  }

  /** Opens a channel and declares queues on it. Rejects with the `unavailable` AppError. */
  async #openChannel(queues: string[], onClose: () => void): Promise<ConfirmChannel> {
    if (this.#fault || !this.#recovering) throw unavailable("The message broker", this.#fault);
    const opening = this.#recovering.createConfirmChannel();
    try {
      const channel = await answered(opening, REPLY_TIMEOUT_MS, "RabbitMQ opened no channel");
      channel.on("close", onClose);
      channel.on("error", (error) => this.#log.warn("RabbitMQ closed a channel", { error }));
      for (const queue of queues) await declare(channel, queue);
      return channel;
    } catch (error) {
      opening.then((channel) => channel.close()).catch(ignore);
      throw error;
    }
  }

  /** The channel of all publishes, opened when there is none. */
  #openPublisher(): Promise<ConfirmChannel> {
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
  async #send(queue: string, content: Buffer, properties: Options.Publish): Promise<void> {
    const channel = await this.#openPublisher();
    const confirmed = new Promise<void>((resolve, reject) => {
      const options = { ...properties, persistent: true, mandatory: true };
      channel.publish("", queue, content, options, (error) => (error ? reject(error) : resolve()));
    });
    await answered(confirmed, CONFIRM_TIMEOUT_MS, "RabbitMQ did not confirm the message");
    if (!this.#returned.delete(properties.messageId)) return;
    await declare(channel, queue); // the next attempt finds it
    throw new Error(`RabbitMQ could not route the message: it had no queue ${queue}.`);
  }
}

/** As the other parties do: any other argument would be refused (406). */
async function declare(channel: Channel, queue: string): Promise<void> {
  const declared = channel.assertQueue(queue, { durable: true });
  await answered(declared, REPLY_TIMEOUT_MS, `RabbitMQ did not declare the queue ${queue}`);
}

/** Rejects with the `unavailable` AppError when RabbitMQ says no or nothing. */
function answered<Reply>(answer: Promise<Reply>, limit: number, what: string): Promise<Reply> {
  return within(answer, limit, what).catch((error: unknown) => {
    throw unavailable("The message broker", error);
  });
}

/** The credentials are UTF-8: amqplib would read those of a URL as Latin-1. */
function parseAddress(url: string) {
  const address = new URL(url);
  const login = credentials.plain(
    decodeURIComponent(address.username || "guest"),
    decodeURIComponent(address.password || "guest"),
  );
  address.username = "";
  address.password = "";
  address.searchParams.append("heartbeat", String(HEARTBEAT_SECONDS)); // the first one counts
  return { url: address.href, login, description: `RabbitMQ at ${address.host}` };
}
