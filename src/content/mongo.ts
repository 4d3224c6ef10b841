import { isIPv6 } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import {
  type Collection,
  type Db,
  MongoAPIError,
  MongoClient,
  MongoClientClosedError,
  MongoError,
  MongoNetworkError,
  MongoNetworkTimeoutError,
  MongoNotConnectedError,
  MongoServerError,
  MongoTopologyClosedError,
} from "mongodb";
import { unavailable } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { ContentStore, ExtractedText } from "./content-store.ts";

/** Milliseconds: to find a server and connect to it, and for its answer to one command. */
const TIMEOUTS = { connect: 5_000, answer: 10_000 };
const CLOSE_MS = 5_000;
const INDEX = "doc_id_1";

/**
 * Answers of a server that can't serve us now: https://www.mongodb.com/docs/manual/reference/error-codes/, and 16500, the
 * throttling of Cosmos DB. Refused credentials (13, 18) are among them: no request can mend those.
 */
const UNAVAILABLE_CODES = new Set<unknown>([
  6, 7, 13, 18, 50, 64, 89, 91, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436, 16500,
]);

/** A text as anyone may have written it. */
type Stored = Loose<ExtractedText> & { doc_id: number };
type Loose<T> = { [Key in keyof T]?: (T[Key] extends Date ? Date | string : Loose<T[Key]>) | null };

/** The computed connection string; any character in user and password survives it. It is a secret. */
export function mongoConnectionString(settings: {
  host: string;
  port: number;
  user: string;
  password: string;
  tls: boolean;
  tlsInsecure: boolean;
}): string {
  const { port, tls, tlsInsecure } = settings;
  const credentials = `${encodeURIComponent(settings.user)}:${encodeURIComponent(settings.password)}`;
  const host = isIPv6(settings.host) ? `[${settings.host}]` : settings.host;
  return (
    `mongodb://${credentials}@${host}:${port}/?tls=${tls}&tlsInsecure=${tlsInsecure}` +
    "&authMechanism=SCRAM-SHA-256&retrywrites=false&maxIdleTimeMS=120000"
  );
}

/**
 * Extracted texts in MongoDB (or Cosmos DB's Mongo API), collection `ocr_results`, shared with workers that insert one each
 * time they process a document: the newest counts.
 */
export class MongoContentStore implements ContentStore {
  readonly description: string;
  readonly #client: MongoClient;
  readonly #database: Db;
  readonly #texts: Collection<Stored>;
  readonly #log: Logger;
  #index: Promise<void> | undefined;
  #closed = false;

  /** `url` is a secret. Throws when it is malformed, without repeating it. */
  constructor(options: { url: string; database: string; log: Logger; timeouts?: typeof TIMEOUTS }) {
    const { url, database, log, timeouts = TIMEOUTS } = options;
    this.#client = openClient(url, timeouts);
    // The driver reports an incompatible server as an event, and an `error` that nobody listens to ends the process.
    this.#client.on("error", (error) => log.error("MongoDB can't be used", { error }));
    this.#database = this.#client.db(database);
    this.#texts = this.#database.collection<Stored>("ocr_results");
    this.#log = log;
    this.description = `MongoDB (${this.#client.options.hosts.join(", ")})`;
  }

  async connect(): Promise<void> {
    try {
      await this.ping();
    } catch (error) {
      this.#log.warn("MongoDB is not reachable; every use tries again", { error });
    }
  }

  async put(text: ExtractedText): Promise<string> {
    return this.#call(async () => {
      const stored = await this.#texts.findOneAndReplace({ doc_id: text.doc_id }, text, {
        upsert: true,
        returnDocument: "after",
        sort: { _id: -1 },
        projection: { _id: 1 },
      });
      return String(stored?._id);
    });
  }

  async get(docId: number): Promise<ExtractedText | undefined> {
    return this.#call(async () => {
      const options = { projection: { _id: 0 }, sort: { _id: -1 } } as const;
      const found = await this.#texts.findOne({ doc_id: docId }, options);
      return found === null ? undefined : pick(found);
    });
  }

  async delete(docId: number): Promise<void> {
    await this.#call(() => this.#texts.deleteMany({ doc_id: docId }));
  }

  async ping(): Promise<void> {
    await this.#call(() => this.#database.command({ ping: 1 }));
  }

  /** Bounded: what a silent server holds up is abandoned. */
  async close(): Promise<void> {
    this.#closed = true;
    const timer = new AbortController();
    const tooLate = delay(CLOSE_MS, undefined, { signal: timer.signal });
    await Promise.race([this.#client.close(), tooLate])
      .catch((error) => this.#log.warn("MongoDB did not close cleanly", { error }))
      .finally(() => timer.abort());
  }

  /** Runs `operation` on a connected client. All operations here may be repeated, and are, once, after a lost connection. */
  async #call<Result>(operation: () => Promise<Result>): Promise<Result> {
    for (let attempt = 1; ; attempt++) {
      if (this.#closed) throw unavailable("The content store");
      try {
        // Returns at once when connected. Without it a client whose first connect failed stays closed for ever.
        await this.#client.connect();
        this.#index ??= this.#makeIndex();
        return await operation();
      } catch (error) {
        const repeatable =
          error instanceof MongoNetworkError && !(error instanceof MongoNetworkTimeoutError);
        if (attempt === 1 && repeatable) continue;
        throw isUnavailable(error) ? unavailable("The content store", error) : error;
      }
    }
  }

  /**
   * Makes a plain index on `doc_id`, in place of the unique one of older versions: workers insert a second text when they process
   * a document again, and would fail for ever. Tried once a process; never rejects, since without it all still works.
   */
  async #makeIndex(): Promise<void> {
    try {
      const indexes = await this.#texts.indexes().catch(() => []);
      if (indexes.some(({ name, unique }) => name === INDEX && unique)) {
        await this.#texts.dropIndex(INDEX);
      }
      await this.#texts.createIndex({ doc_id: 1 }, { name: INDEX });
    } catch (error) {
      if (!this.#closed) this.#log.warn("The index on doc_id could not be made", { error });
    }
  }
}

function openClient(url: string, timeouts: typeof TIMEOUTS): MongoClient {
  try {
    return new MongoClient(url, {
      appName: "nassaq-server",
      maxPoolSize: 20,
      serverSelectionTimeoutMS: timeouts.connect,
      connectTimeoutMS: timeouts.connect,
      waitQueueTimeoutMS: timeouts.connect,
      socketTimeoutMS: timeouts.answer,
      // #call repeats, reads and writes alike.
      retryReads: false,
    });
  } catch {
    // The driver's own message may quote parts of the URL.
    throw new Error("The MongoDB connection string is malformed");
  }
}

/** The fields of the contract and no others; workers write more, and may leave some out. */
function pick(text: Stored): ExtractedText {
  const { ocr, classification } = text;
  return {
    doc_id: text.doc_id,
    filename: text.filename ?? "",
    file_type: text.file_type ?? "",
    blob_path: text.blob_path ?? "",
    extracted_text: text.extracted_text ?? "",
    ocr: {
      page_count: ocr?.page_count ?? 0,
      word_count: ocr?.word_count ?? 0,
      avg_confidence: ocr?.avg_confidence ?? 0,
      primary_language: ocr?.primary_language ?? "",
      elapsed_seconds: ocr?.elapsed_seconds ?? 0,
    },
    classification: classification?.category
      ? { category: classification.category, confidence: classification.confidence ?? 0 }
      : null,
    processed_at: new Date(text.processed_at ?? 0),
  };
}

function isUnavailable(error: unknown): boolean {
  if (error instanceof MongoServerError) return UNAVAILABLE_CODES.has(error.code);
  if (error instanceof MongoAPIError) {
    const closed = [MongoNotConnectedError, MongoTopologyClosedError, MongoClientClosedError];
    return closed.some((type) => error instanceof type);
  }
  return error instanceof MongoError;
}
