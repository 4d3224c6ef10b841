import {
  type Message as AmqpMessage,
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
import type { Consumer, ConsumingBroker, Handler, Message } from "./broker.ts";
import { cancelAll, QueueConsumer, type Source } from "./consumer.ts";
import { REPLY_TIMEOUT, receive } from "./rabbitmq-consumer.ts";

/** Milliseconds. */
const CONNECT_WAIT = 3_000;
const HANDSHAKE_TIMEOUT = 10_000;
const CONFIRM_TIMEOUT = 10_000;
/** Seconds; two or three of them without a sign mean that the peer is dead. */
const HEARTBEAT = 10;

const ignore = () => {};

/**
 * RabbitMQ over AMQP 0-9-1. Queues are declared durable and with no argument, as every other party
 * declares them; the server's own one at each connection, because RabbitMQ writes a declaration to
 * disk some seconds later. amqplib keeps the connection up; channels are opened when needed.
 */
export class RabbitMQBroker implements ConsumingBroker {
  readonly description: string;
  readonly #address: ReturnType<typeof parseAddress>;
  readonly #queue: string;
  readonly #log: Logger;
  readonly #consumers: Consumer[] = [];
  #recovering: RecoveringChannelModel | undefined;
  #model: ChannelModel | undefined;
  /** Why nothing can be published now. */
  #fault: Error | undefined = new Error("RabbitMQ is not connected yet.");
  #publisher: Promise<ConfirmChannel> | undefined;

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
      timeout: HANDSHAKE_TIMEOUT,
      noDelay: true,
      clientProperties: { connection_name: "nassaq-server" },
      recovery: { waitForConnect: false, initialDelay: 500, maxDelay: 2_000 },
    });
    this.#recovering = recovering;
    this.#listen(recovering);
    const ready = recovering.waitForConnect().then(() => this.#openPublisher());
    await within(ready, CONNECT_WAIT, "RabbitMQ did not answer").catch(ignore);
  }

  async publish(queue: string, message: Message): Promise<void> {
    const properties = { contentType: "application/json", messageId: message.id };
    await this.#send(queue, Buffer.from(message.body), properties);
  }

  async consume(queue: string, handler: Handler, options: { prefetch: number }): Promise<Consumer> {
    const link = { openChannel: this.#openChannel.bind(this), send: this.#send.bind(this) };
    const source: Source = (...ends) => receive(link, { queue, ...options }, ...ends);
    const consumer = new QueueConsumer(source, { queue, handler, ...options, log: this.#log });
    this.#consumers.push(consumer);
    return consumer;
  }

  /** A declaration shows that connection, channel and queue are there. */
  async ping(): Promise<void> {
    const channel = await this.#openPublisher();
    await declare(channel, this.#queue);
  }

  async close(): Promise<void> {
    await cancelAll(this.#consumers, this.#log);
    this.#fault = new Error("RabbitMQ is closed.");
    const closing = this.#recovering?.close() ?? Promise.resolve();
    await within(closing, REPLY_TIMEOUT, "RabbitMQ did not close").catch(ignore);
  }

  #listen(recovering: RecoveringChannelModel): void {
    const broker = this.description;
    const lost = (message: string) => (error: Error) => {
      const repeated = error.message === this.#fault?.message;
      this.#fault = error;
      this.#log[repeated ? "debug" : "warn"](message, { broker, error });
    };
    recovering.on("connect", (model: ChannelModel) => {
      this.#model = model;
      this.#fault = undefined;
      this.#log.info("RabbitMQ is connected", { broker });
      this.#openPublisher().catch((error: Error) => {
        this.#log.warn("RabbitMQ takes no messages", { broker, error });
        // Recovery listens only after the handshake. A connection that ended in it would count as
        // connected for ever: recovery is told here.
        if (error.cause instanceof IllegalOperationError) model.emit("close", error.cause);
      });
    });
    recovering.on("disconnect", lost("RabbitMQ is disconnected"));
    recovering.on("connect-failed", lost("RabbitMQ can't be reached"));
    // Short of memory or disk RabbitMQ takes what is sent much later.
    recovering.on("blocked", (reason: string) => {
      lost("RabbitMQ takes no messages")(new Error(`RabbitMQ blocks publishers: ${reason}`));
    });
    recovering.on("unblocked", () => {
      this.#fault = undefined;
    });
    recovering.on("error", ignore); // without a listener the process would end
  }

  /** Opens a channel and declares queues on it. Rejects with the `unavailable` AppError. */
  async #openChannel(queues: string[], onClose: () => void): Promise<ConfirmChannel> {
    if (this.#fault || !this.#model) throw unavailable("The message broker", this.#fault);
    const opening = this.#model.createConfirmChannel();
    try {
      const channel = await answered(opening, REPLY_TIMEOUT, "RabbitMQ opened no channel");
      channel.on("close", onClose);
      channel.on("error", ignore); // without a listener the process would end
      for (const queue of queues) await declare(channel, queue);
      channel.on("error", (error) => this.#log.warn("RabbitMQ closed a channel", { error }));
      return channel;
    } catch (error) {
      opening.then((channel) => channel.close()).catch(ignore);
      throw error;
    }
  }

  /**
   * The channel of all publishes, opened when there is none. It ends when the queue exists with
   * other arguments (406); the next caller tries again.
   */
  async #openPublisher(): Promise<ConfirmChannel> {
    if (this.#fault) throw unavailable("The message broker", this.#fault);
    if (this.#publisher) return this.#publisher;
    const forget = () => {
      if (this.#publisher === opening) this.#publisher = undefined;
    };
    const opening = this.#openChannel([this.#queue], forget);
    opening.then((channel) => channel.setMaxListeners(0), forget); // one a publish under way
    this.#publisher = opening;
    return opening;
  }

  /** Waits for this message's own confirm. The return of an unroutable one comes before it. */
  async #send(queue: string, content: Buffer, properties: Options.Publish): Promise<void> {
    const channel = await this.#openPublisher();
    let isReturned = false;
    const onReturn = (returned: AmqpMessage) => {
      isReturned ||= returned.properties.messageId === properties.messageId;
    };
    channel.on("return", onReturn);
    try {
      const confirmed = new Promise<void>((resolve, reject) => {
        const options = { ...properties, persistent: true, mandatory: true };
        channel.publish("", queue, content, options, (error) =>
          error ? reject(error) : resolve(),
        );
      });
      await answered(confirmed, CONFIRM_TIMEOUT, "RabbitMQ did not confirm the message");
    } finally {
      channel.off("return", onReturn);
    }
    if (!isReturned) return;
    await declare(channel, queue); // the next attempt finds it
    throw new Error(`RabbitMQ could not route the message: it had no queue ${queue}.`);
  }
}

async function declare(channel: Channel, queue: string): Promise<void> {
  const declared = channel.assertQueue(queue, { durable: true });
  await answered(declared, REPLY_TIMEOUT, `RabbitMQ did not declare the queue ${queue}`);
}

/** Rejects with the `unavailable` AppError when RabbitMQ says no or nothing. */
function answered<Reply>(answer: Promise<Reply>, limit: number, what: string): Promise<Reply> {
  return within(answer, limit, what).catch((error: unknown) => {
    throw unavailable("The message broker", error);
  });
}

/** The address without its credentials, and these as UTF-8: amqplib would read them as Latin-1. */
function parseAddress(url: string) {
  if (!URL.canParse(url)) throw new Error("The RabbitMQ address is not a valid URL.");
  const address = new URL(url);
  const { username, password } = address;
  const isAnonymous = username === "" && password === "";
  const login = isAnonymous
    ? credentials.plain("guest", "guest")
    : credentials.plain(decode(username), decode(password));
  address.username = "";
  address.password = "";
  address.searchParams.append("heartbeat", String(HEARTBEAT)); // amqplib takes the first one
  return { url: address.href, login, description: `RabbitMQ at ${address.host}` };
}

/** A `%` that is no escape means itself. */
function decode(text: string): string {
  return decodeURIComponent(text.replace(/%(?![0-9a-f]{2})/gi, "%25"));
}
