import { randomUUID } from "node:crypto";
import type { Database, Queryable } from "../data/database.ts";
import type { Logger } from "../log.ts";
import { type Consumer, type ConsumingBroker, type Message, pause } from "./broker.ts";
import { type Received, startConsumer } from "./consumer.ts";

/** Without a renewal, three of them in this time, a message is delivered again. */
const LEASE_MS = 10_000;
const POLL_MS = 250;

/** A leased row is invisible until `visible_at`. */
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
const INDEX = `CREATE INDEX IF NOT EXISTS Broker_Messages_by_time
  ON Broker_Messages (queue, visible_at)`;

interface LeasedRow extends Message {
  row: number;
  deliveries: number;
}

/** A queue in a table of the embedded database, which several processes may share. */
export class EmbeddedBroker implements ConsumingBroker {
  readonly description = "embedded (table Broker_Messages)";
  enqueue?: (tx: Queryable, queue: string, message: Message) => Promise<void>;
  readonly #database: Database;
  readonly #log: Logger;
  readonly #consumers: Consumer[] = [];

  /** `isServers`: the database is the one that holds the documents. */
  constructor(options: { database: Database; log: Logger; isServers?: boolean }) {
    this.#database = options.database;
    this.#log = options.log;
    if (options.isServers) this.enqueue = (...message) => this.#add(...message);
  }

  async connect(): Promise<void> {
    await this.ping().catch((error: unknown) =>
      this.#log.error("The embedded queue can't be made", { error }),
    );
  }

  async publish(queue: string, message: Message): Promise<void> {
    await this.ping();
    await this.#add(this.#database, queue, message);
  }

  async consume(...[queue, handler, options]: Parameters<ConsumingBroker["consume"]>) {
    const source = (signal: AbortSignal) => this.#receive(queue, signal);
    const consumer = startConsumer(source, { queue, handler, ...options, log: this.#log });
    this.#consumers.push(consumer);
    return consumer;
  }

  depths(): Promise<{ queue: string; messages: number }[]> {
    const sql = "SELECT queue, COUNT(*) AS messages FROM Broker_Messages GROUP BY queue";
    return this.#database.all(sql);
  }

  async ping(): Promise<void> {
    await this.#database.run(TABLE);
    await this.#database.run(INDEX);
  }

  async close(): Promise<void> {
    await Promise.all(this.#consumers.map((consumer) => consumer.cancel()));
  }

  async #add(q: Queryable, queue: string, { id: message_id, body }: Message): Promise<void> {
    const now = new Date();
    const row = { queue, message_id, body, created_at: now, visible_at: now, deliveries: 0 };
    await q.insert("Broker_Messages", row, "broker_message_id");
  }

  async *#receive(queue: string, signal: AbortSignal): AsyncGenerator<Received> {
    await this.ping();
    while (!signal.aborted) {
      const lease = randomUUID();
      const row = await this.#take(queue, lease);
      if (row) yield this.#leased(row, queue, lease);
      else await pause(POLL_MS, signal);
    }
  }

  /** The one that is visible for longest: what comes again waits behind what waited meanwhile. */
  #take(queue: string, lease: string): Promise<LeasedRow | undefined> {
    const now = new Date();
    return this.#database.first<LeasedRow>(
      `UPDATE Broker_Messages SET lease = @lease, visible_at = @until, deliveries = deliveries + 1
       WHERE broker_message_id = (SELECT broker_message_id FROM Broker_Messages
         WHERE queue = @queue AND visible_at <= @now
         ORDER BY visible_at, broker_message_id LIMIT 1)
       RETURNING broker_message_id AS row, message_id AS id, body, deliveries`,
      { queue, lease, now, until: new Date(now.getTime() + LEASE_MS) },
    );
  }

  /** A message whose lease is renewed until it is settled. Without the lease nothing changes. */
  #leased({ row, ...delivery }: LeasedRow, queue: string, lease: string): Received {
    const settle = async (change: string, params = {}) => {
      const sql = `${change} WHERE broker_message_id = @row AND lease = @lease`;
      await this.#database.run(sql, { row, lease, ...params });
    };
    const renewal = setInterval(() => {
      const until = new Date(Date.now() + LEASE_MS);
      settle("UPDATE Broker_Messages SET visible_at = @until", { until }).catch((error: unknown) =>
        this.#log.warn("A lease was not renewed", { queue, error }),
      );
    }, LEASE_MS / 3);
    const finish = (change: string, params = {}) => {
      clearInterval(renewal);
      return settle(change, { now: new Date(), ...params });
    };
    const release = "UPDATE Broker_Messages SET visible_at = @now, lease = NULL";
    return {
      ...delivery,
      ack: () => finish("DELETE FROM Broker_Messages"),
      retry: () => finish(release),
      release: () => finish(`${release}, deliveries = deliveries - 1`),
      park: (reason) =>
        finish(`${release}, queue = @failed, reason = @reason, deliveries = 0`, {
          failed: `${queue}.failed`,
          reason,
        }),
    };
  }
}
