import { isIPv6 } from "node:net";
import { type Collection, MongoClient, MongoError, type MongoServerError } from "mongodb";
import { AppError, unavailable, within } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { ContentStore, ExtractedText, Hits } from "./content-store.ts";

/** To find and reach a server, or to close. */
const CONNECT_TIMEOUT_MS = 5_000;
const ANSWER_TIMEOUT_MS = 10_000;

/** An index of this name has other options (mongodb.com, error codes). */
const INDEX_CONFLICTS: unknown[] = [85, 86];

/** The connection string, a secret; any character in user and password survives. */
export function mongoConnectionString(settings: {
  host: string;
  port: number;
  user: string;
  password: string;
  tls: boolean;
  tlsInsecure: boolean;
}): string {
  const { port, tls, tlsInsecure } = settings;
  const user = encodeURIComponent(settings.user);
  const password = encodeURIComponent(settings.password);
  const host = isIPv6(settings.host) ? `[${settings.host}]` : settings.host;
  return (
    `mongodb://${user}:${password}@${host}:${port}/?tls=${tls}&tlsInsecure=${tlsInsecure}` +
    "&authMechanism=SCRAM-SHA-256&retrywrites=false&maxIdleTimeMS=120000"
  );
}

/**
 * Extracted texts in MongoDB (or Cosmos DB's Mongo API), collection `ocr_results`, shared with
 * workers: their newest text of a document counts, and has more fields than ours.
 */
export class MongoContentStore implements ContentStore {
  readonly description: string;
  readonly #client: MongoClient;
  readonly #texts: Collection<ExtractedText>;
  readonly #log: Logger;
  #index: Promise<void> | undefined;
  #closed = false;

  /**
   * `url` is a secret. Throws when it is malformed, without repeating it. With `readOnly` no index
   * is made.
   */
  constructor(options: { url: string; database: string; log: Logger; readOnly?: boolean }) {
    const { url, database, log, readOnly = false } = options;
    try {
      this.#client = new MongoClient(url, {
        serverSelectionTimeoutMS: CONNECT_TIMEOUT_MS,
        connectTimeoutMS: CONNECT_TIMEOUT_MS,
        waitQueueTimeoutMS: CONNECT_TIMEOUT_MS,
        socketTimeoutMS: ANSWER_TIMEOUT_MS,
      });
    } catch {
      // The driver's own message may quote parts of the URL.
      throw new Error("The MongoDB connection string is malformed");
    }
    // Unheard, the event of an incompatible server would end the process.
    this.#client.on("error", (error) => log.error("MongoDB can't be used", { error }));
    this.#texts = this.#client.db(database).collection<ExtractedText>("ocr_results");
    this.#log = log;
    if (readOnly) this.#index = Promise.resolve();
    this.description = `MongoDB (${this.#client.options.hosts.join(", ")})`;
  }

  async connect(): Promise<void> {
    await this.ping().catch((error: unknown) =>
      this.#log.warn("MongoDB is not reachable; every use tries again", { error }),
    );
  }

  async put(text: ExtractedText, _ownerId?: number): Promise<string> {
    const stored = await this.#call(() =>
      this.#texts.findOneAndReplace({ doc_id: text.doc_id }, text, {
        upsert: true,
        returnDocument: "after",
        sort: { _id: -1 },
      }),
    );
    return String(stored?._id);
  }

  async get(docId: number): Promise<ExtractedText | undefined> {
    const options = { sort: { _id: -1 }, projection: { _id: 0 } } as const;
    const stored = await this.#call(() => this.#texts.findOne({ doc_id: docId }, options));
    if (stored === null) return undefined;
    const classification = stored.classification?.category ? stored.classification : null;
    return { ...stored, classification, processed_at: new Date(stored.processed_at) };
  }

  async delete(docId: number): Promise<void> {
    await this.#call(() => this.#texts.deleteMany({ doc_id: docId }));
  }

  async search(): Promise<Hits> {
    throw new AppError("not_implemented", "This text store can't search.");
  }

  async listUnindexed(): Promise<number[]> {
    return [];
  }

  async index(): Promise<void> {}

  async ping(): Promise<void> {
    await this.#call(() => this.#client.db(this.#texts.dbName).command({ ping: 1 }));
  }

  async close(): Promise<void> {
    this.#closed = true;
    await within(this.#client.close(), CONNECT_TIMEOUT_MS, "MongoDB did not close");
  }

  async #call<Result>(operation: () => Promise<Result>): Promise<Result> {
    if (this.#closed) throw unavailable("The content store");
    try {
      // No other call opens a client whose first connect failed.
      await this.#client.connect();
      this.#index ??= this.#makeIndex();
      return await operation();
    } catch (error) {
      throw error instanceof MongoError ? unavailable("The content store", error) : error;
    }
  }

  /** Plain, not unique as in older versions: workers insert a second text. Works without. */
  async #makeIndex(): Promise<void> {
    const make = () => this.#texts.createIndex({ doc_id: 1 });
    const replace = async (error: MongoServerError) => {
      if (!INDEX_CONFLICTS.includes(error.code)) throw error;
      await this.#texts.dropIndex("doc_id_1");
      await make();
    };
    await make()
      .catch(replace)
      .catch((error: unknown) => {
        if (!this.#closed) this.#log.warn("The index on doc_id could not be made", { error });
      });
  }
}
