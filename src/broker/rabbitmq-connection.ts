import {
  type Channel,
  type ChannelModel,
  type ConfirmChannel,
  type ConsumeMessage,
  connect,
  credentials,
  IllegalOperationError,
  type Options,
  type RecoveringChannelModel,
} from "amqplib";
import type { Logger } from "../log.ts";
import { brokerUnavailable, within } from "./broker.ts";

export type { Channel, ConfirmChannel, ConsumeMessage, Options };

/** Milliseconds that an answer of the broker to one operation may take. */
export const REPLY_TIMEOUT = 3_000;
const CONNECT_WAIT = 3_000;
const HANDSHAKE_TIMEOUT = 10_000;
const LONGEST_RETRY_DELAY = 2_000;
const START_OVER_DELAY = 1_000;
/** Seconds; after two or three of them without a sign the peer counts as dead. */
const HEARTBEAT = 10;

const ignore = () => {};

/** Whether amqplib refused an operation because its channel or connection is gone. */
export const isGone = (error: unknown) => error instanceof IllegalOperationError;

/** Closes a channel, whatever its state, without waiting. */
export function discard(channel: Channel | undefined): void {
  Promise.resolve()
    .then(() => channel?.close())
    .catch(ignore);
}

/** The address without its credentials, and the credentials decoded as UTF-8: amqplib would read them as Latin-1. */
function parseAddress(url: string) {
  let address: URL;
  try {
    address = new URL(url);
  } catch {
    throw new Error("The RabbitMQ address is not a valid URL."); // no cause: it would repeat the password
  }
  const decode = (text: string) => {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  };
  const { username, password, protocol, hostname } = address;
  const anonymous = username === "" && password === "";
  const login = anonymous
    ? credentials.plain("guest", "guest")
    : credentials.plain(decode(username), decode(password));
  address.username = "";
  address.password = "";
  if (!address.searchParams.has("heartbeat"))
    address.searchParams.set("heartbeat", String(HEARTBEAT));
  const port = address.port || (protocol === "amqps:" ? "5671" : "5672");
  return { url: address.href, login, description: `RabbitMQ at ${hostname}:${port}` };
}

export type RabbitMQConnection = ReturnType<typeof createRabbitMQConnection>;

/**
 * A connection that amqplib's recovery keeps up. Channels are not recovered with it: `onChange` tells when it came (true) or
 * went (false). Operations reject with the `unavailable` AppError while it is not there.
 */
export function createRabbitMQConnection(options: {
  url: string;
  log: Logger;
  onChange: (connected: boolean) => void;
}) {
  const { log, onChange } = options;
  const address = parseAddress(options.url);
  let recovering: RecoveringChannelModel | undefined;
  let model: ChannelModel | undefined;
  let sockets = new AbortController();
  let startOver: NodeJS.Timeout | undefined;
  let blocked: string | undefined;
  let lastError = new Error("RabbitMQ is not connected yet.");
  let closed = false;

  async function open(): Promise<void> {
    // amqplib only half-closes a connection that it gives up: the signal lets `close` destroy what is left of it.
    sockets = new AbortController();
    const socketOptions = {
      signal: sockets.signal,
      credentials: address.login,
      timeout: HANDSHAKE_TIMEOUT,
      noDelay: true,
      clientProperties: { connection_name: "nassaq-server" },
      recovery: { waitForConnect: false, initialDelay: 200, maxDelay: LONGEST_RETRY_DELAY },
    };
    const opening = await connect(address.url, socketOptions);
    recovering = opening;
    opening.on("connect", (connected: ChannelModel) => {
      model = connected;
      log.info("RabbitMQ is connected", { broker: address.description });
      onChange(true);
    });
    opening.on("disconnect", (error: Error) => lost("RabbitMQ is disconnected", error));
    opening.on("connect-failed", (error: Error) => lost("RabbitMQ can't be reached", error));
    opening.on("blocked", (reason: string) => {
      blocked = reason;
      log.warn("RabbitMQ blocks publishers", { reason });
    });
    opening.on("unblocked", () => {
      blocked = undefined;
      log.info("RabbitMQ no longer blocks publishers");
    });
    opening.on("error", ignore); // `disconnect` follows and tells the same
  }

  function lost(message: string, error: Error): void {
    const repeated = model === undefined && error.message === lastError.message;
    const wasConnected = model !== undefined;
    model = undefined;
    blocked = undefined;
    lastError = error;
    if (closed) return;
    log[repeated ? "debug" : "warn"](message, { broker: address.description, error });
    if (wasConnected) onChange(false);
  }

  /**
   * Recovery attaches itself to a connection only after its handshake: one that ended in between stays "connected" for
   * ever. Such a connection refuses every operation, and is replaced.
   */
  function replace(dead: ChannelModel): void {
    if (closed || model !== dead) return;
    lost("RabbitMQ's connection is dead, starting over", new Error("The connection is dead."));
    recovering?.close().catch(ignore);
    sockets.abort();
    startOver = setTimeout(() => {
      open().catch((error: unknown) => log.error("RabbitMQ can't be opened", { error }));
    }, START_OVER_DELAY);
  }

  async function opened<Kind extends Channel>(
    make: (model: ChannelModel) => Promise<Kind>,
  ): Promise<Kind> {
    const current = model;
    if (current === undefined) throw brokerUnavailable(lastError);
    const opening = make(current).then((channel) => {
      channel.on("error", ignore); // `close` follows; without a listener the process would end
      return channel;
    });
    try {
      return await within(opening, REPLY_TIMEOUT, "RabbitMQ opened no channel");
    } catch (error) {
      opening.then(discard, ignore);
      if (isGone(error)) replace(current);
      throw brokerUnavailable(error);
    }
  }

  return {
    description: address.description,
    /** Returns after the first connection, or after a few seconds without one. */
    async connect(): Promise<void> {
      await open();
      const first = recovering?.waitForConnect() ?? Promise.resolve();
      await within<unknown>(first, CONNECT_WAIT, "RabbitMQ did not answer").catch(ignore);
    },
    openChannel: (): Promise<Channel> => opened((current) => current.createChannel()),
    openConfirmChannel: (): Promise<ConfirmChannel> =>
      opened((current) => current.createConfirmChannel()),
    /** Throws while the broker is short of memory or disk and takes no messages (`connection.blocked`). */
    assertNotBlocked(): void {
      if (blocked === undefined) return;
      throw brokerUnavailable(new Error(`RabbitMQ blocks publishers: ${blocked}`));
    },
    /** Ends within seconds, also when the broker does not answer. */
    async close(): Promise<void> {
      closed = true;
      clearTimeout(startOver);
      const closing = recovering?.close() ?? Promise.resolve();
      await within(closing, REPLY_TIMEOUT, "RabbitMQ did not close").catch(ignore);
      model = undefined;
      lastError = new Error("RabbitMQ is closed.");
      sockets.abort();
    },
  };
}
