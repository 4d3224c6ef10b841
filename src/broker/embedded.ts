import { randomUUID } from "node:crypto";
import type { Database } from "../data/database.ts";
import type { Logger } from "../log.ts";
import {
  type Broker,
  type Consumer,
  type Delivery,
  failureReason,
  MAX_DELIVERIES,
  type Message,
  RETRY_DELAY,
  within,
} from "./broker.ts";

/** Milliseconds. After `LEASE` without a renewal a consumer counts as dead and its message is delivered again. */
const LEASE = 30_000;
/** How often to look for what other processes published; what this one publishes is seen at once. */
const POLL_PAUSE = 500;
const HANDLERS_TIMEOUT = 10_000;

interface Row {
  broker_message_id: number;
  message_id: string;
  body: string;
  deliveries: number;
}

type Handler = (delivery: Delivery) => Promise<void>;

interface Settings {
  database: Database;
  log: Logger;
  retryDelay: number;
  lease: number;
}

/** A row is invisible until `visible_at`: while it is leased, and while it waits for its next delivery. */
const TABLE = `CREATE TABLE IF NOT EXISTS Broker_Messages (
  broker_message_id INTEGER PRIMARY KEY AUTOINCREMENT,
  queue VARCHAR(260) NOT NULL,
  message_id VARCHAR(255) NOT NULL,
  body TEXT NOT NULL,
  created_at DATETIME2(3) NOT NULL,
  visible_at DATETIME2(3) NOT NULL,
  deliveries INT NOT NULL,
  lease VARCHAR(36) NULL,
  reason NVARCHAR(400) NULL
)`;
const INDEX = `CREATE INDEX IF NOT EXISTS Broker_Messages_by_queue
  ON Broker_Messages (queue, visible_at)`;

/** A queue in a table of the embedded database (SQLite), for one machine: several processes may share the file. */
export class EmbeddedBroker implements Broker {
  readonly description = "embedded (table Broker_Messages)";
  readonly #settings: Settings;
  readonly #consumers = new Set<QueueConsumer>();
  #table: Promise<void> | undefined;

  /** `retryDelay` and `lease`, in milliseconds, are `RETRY_DELAY` and 30 s unless told. */
  constructor(options: { database: Database; log: Logger; retryDelay?: number; lease?: number }) {
    this.#settings = { retryDelay: RETRY_DELAY, lease: LEASE, ...options };
  }

  async connect(): Promise<void> {
    await this.#prepared().catch((error: unknown) =>
      this.#settings.log.error("The embedded queue can't be made", { error }),
    );
  }

  async publish(queue: string, message: Message): Promise<void> {
    await this.#prepared();
    const now = new Date();
    const row = {
      queue,
      message_id: message.id,
      body: message.body,
      created_at: now,
      visible_at: now,
    };
    await this.#settings.database.insert(
      "Broker_Messages",
      { ...row, deliveries: 0 },
      "broker_message_id",
    );
    for (const consumer of this.#consumers) if (consumer.queue === queue) consumer.wake();
  }

  async consume(queue: string, handler: Handler, options: { prefetch: number }): Promise<Consumer> {
    await this.connect();
    const consumer = startConsumer(this.#settings, queue, handler, options.prefetch);
    this.#consumers.add(consumer);
    return {
      cancel: async () => {
        this.#consumers.delete(consumer);
        await consumer.cancel();
      },
    };
  }

  async ping(): Promise<void> {
    await this.#prepared();
    await this.#settings.database.ping();
  }

  async close(): Promise<void> {
    const cancelled = Promise.all([...this.#consumers].map((consumer) => consumer.cancel()));
    await within(cancelled, HANDLERS_TIMEOUT, "Handlers did not end").catch((error: unknown) =>
      this.#settings.log.warn("The embedded queue closes while handlers are running", { error }),
    );
  }

  #prepared(): Promise<void> {
    const { database } = this.#settings;
    this.#table ??= database
      .run(TABLE)
      .then(() => database.run(INDEX))
      .then(
        () => {},
        (error: unknown) => {
          this.#table = undefined;
          throw error;
        },
      );
    return this.#table;
  }
}

interface QueueConsumer extends Consumer {
  readonly queue: string;
  wake(): void;
}

function startConsumer(
  settings: Settings,
  queue: string,
  handler: Handler,
  prefetch: number,
): QueueConsumer {
  const { database, log, retryDelay, lease } = settings;
  const underWay = new Set<Promise<void>>();
  let cancelled = false;
  let woken = false;
  let failing = false;
  let endPause = () => {};

  async function run(): Promise<void> {
    while (!cancelled) {
      if (underWay.size >= prefetch) {
        await Promise.race(underWay);
        continue;
      }
      woken = false;
      let milliseconds = POLL_PAUSE;
      try {
        if (await takeOne()) continue;
        milliseconds = await untilNextDue();
        failing = false;
      } catch (error) {
        log[failing ? "debug" : "error"]("The embedded queue can't be read", { queue, error });
        failing = true;
      }
      await pause(milliseconds);
    }
  }

  /** Leases the oldest visible message and starts its handler. Whether it is worth looking again at once. */
  async function takeOne(): Promise<boolean> {
    const now = new Date();
    const [row] = await database.page<Row>(
      `SELECT broker_message_id, message_id, body, deliveries FROM Broker_Messages
       WHERE queue = @queue AND visible_at <= @now ORDER BY broker_message_id`,
      { queue, now },
      { skip: 0, limit: 1 },
    );
    if (row === undefined || cancelled) return false;
    const token = randomUUID();
    const taken = await database.run(
      `UPDATE Broker_Messages SET lease = @token, visible_at = @until, deliveries = deliveries + 1
       WHERE broker_message_id = @id AND queue = @queue AND visible_at <= @now`,
      { id: row.broker_message_id, queue, now, token, until: new Date(now.getTime() + lease) },
    );
    if (taken === 1) {
      const work = handle({ ...row, deliveries: row.deliveries + 1 }, token)
        .catch((error: unknown) => log.error("A message could not be settled", { queue, error }))
        .finally(() => underWay.delete(work));
      underWay.add(work);
    }
    return true;
  }

  async function handle(row: Row, token: string): Promise<void> {
    const { message_id: id, body, deliveries } = row;
    if (deliveries > MAX_DELIVERIES)
      return park(row, token, "The consumer ended before it answered.");
    const renewal = setInterval(() => {
      hide(row, token, lease).catch((error: unknown) =>
        log.warn("A lease was not renewed", { queue, error }),
      );
    }, lease / 3);
    let failure: unknown;
    try {
      await handler({ id, body, deliveries });
    } catch (error) {
      failure = error ?? new Error("The handler failed without a reason.");
    } finally {
      clearInterval(renewal);
    }
    if (failure === undefined) {
      const params = { id: row.broker_message_id, token };
      await database.run(
        "DELETE FROM Broker_Messages WHERE broker_message_id = @id AND lease = @token",
        params,
      );
      return;
    }
    log.warn("A message was not handled", { queue, message_id: id, deliveries, error: failure });
    if (deliveries >= MAX_DELIVERIES) return park(row, token, failureReason(failure));
    await hide(row, token, retryDelay * 2 ** (deliveries - 1));
  }

  /** Keeps the message from every consumer for `milliseconds` from now, if it is still ours. */
  async function hide(row: Row, token: string, milliseconds: number): Promise<void> {
    await database.run(
      "UPDATE Broker_Messages SET visible_at = @until WHERE broker_message_id = @id AND lease = @token",
      { id: row.broker_message_id, token, until: new Date(Date.now() + milliseconds) },
    );
  }

  async function park(row: Row, token: string, reason: string): Promise<void> {
    const failed = `${queue}.failed`;
    await database.run(
      `UPDATE Broker_Messages SET queue = @failed, reason = @reason, visible_at = @now, deliveries = 0, lease = NULL
       WHERE broker_message_id = @id AND lease = @token`,
      { id: row.broker_message_id, token, failed, reason, now: new Date() },
    );
    log.error("A message is parked", { queue: failed, message_id: row.message_id, reason });
  }

  async function untilNextDue(): Promise<number> {
    const [next] = await database.page<{ visible_at: Date }>(
      "SELECT visible_at FROM Broker_Messages WHERE queue = @queue ORDER BY visible_at",
      { queue },
      { skip: 0, limit: 1 },
    );
    if (next === undefined) return POLL_PAUSE;
    return Math.min(POLL_PAUSE, Math.max(1, next.visible_at.getTime() - Date.now() + 1));
  }

  async function pause(milliseconds: number): Promise<void> {
    if (cancelled || woken) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  const running = run();
  const wake = () => {
    woken = true;
    endPause();
  };
  return {
    queue,
    wake,
    async cancel() {
      cancelled = true;
      wake();
      await running;
      await Promise.all(underWay);
    },
  };
}
