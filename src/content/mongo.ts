import { isIPv6 } from "node:net";
import { type Collection, MongoClient, MongoError, MongoServerError } from "mongodb";
import { unavailable, within } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { ContentStore, ExtractedText } from "./content-store.ts";

/** Milliseconds to find a server and connect to it, or to close; and for one answer. */
const CONNECT_TIMEOUT = 5_000;
const ANSWER_TIMEOUT = 10_000;

/** Codes that refuse the document itself (mongodb.com/docs/manual/reference/error-codes). */
const REFUSALS = new Set<unknown>([2, 10334, 121]);

/** What `ocr` is where a worker left it out, or a part of it. */
const NO_OCR: ExtractedText["ocr"] = {
  page_count: 0,
  word_count: 0,
  avg_confidence: 0,
  primary_language: "",
  elapsed_seconds: 0,
};

/** The computed connection string; any character in user and password survives. It is a secret. */
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
 * workers that insert one each time they process a document: the newest counts.
 */
export class MongoContentStore implements ContentStore {
  readonly description: string;
  readonly #client: MongoClient;
  readonly #texts: Collection<ExtractedText>;
  readonly #log: Logger;
  #index: Promise<void> | undefined;
  #closed = false;

  /** `url` is a secret. Throws when it is malformed, without repeating it. */
  constructor({ url, database, log }: { url: string; database: string; log: Logger }) {
    this.#client = openClient(url);
    // The driver tells of an incompatible server by an event; unheard it would end the process.
    this.#client.on("error", (error) => log.error("MongoDB can't be used", { error }));
    this.#texts = this.#client.db(database).collection<ExtractedText>("ocr_results");
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
    const stored = await this.#call(() =>
      this.#texts.findOneAndReplace({ doc_id: text.doc_id }, text, {
        upsert: true,
        returnDocument: "after",
        sort: { _id: -1 },
        projection: { _id: 1 },
      }),
    );
    return String(stored?._id);
  }

  async get(docId: number): Promise<ExtractedText | undefined> {
    const newest = { sort: { _id: -1 } } as const;
    const stored = await this.#call(() => this.#texts.findOne({ doc_id: docId }, newest));
    return stored === null ? undefined : toText(stored);
  }

  async delete(docId: number): Promise<void> {
    await this.#call(() => this.#texts.deleteMany({ doc_id: docId }));
  }

  async ping(): Promise<void> {
    await this.#call(() => this.#client.db(this.#texts.dbName).command({ ping: 1 }));
  }

  async close(): Promise<void> {
    this.#closed = true;
    await within(this.#client.close(), CONNECT_TIMEOUT, "MongoDB did not close");
  }

  /** Runs `operation` on a connected client. */
  async #call<Result>(operation: () => Promise<Result>): Promise<Result> {
    if (this.#closed) throw unavailable("The content store");
    try {
      // At once when connected. A client whose first connect failed is opened by no other call.
      await this.#client.connect();
      this.#index ??= this.#makeIndex();
      return await operation();
    } catch (error) {
      const refused = error instanceof MongoServerError && REFUSALS.has(error.code);
      if (refused || !(error instanceof MongoError)) throw error;
      throw unavailable("The content store", error);
    }
  }

  /**
   * Makes a plain index on `doc_id`, in place of the unique one of older versions: workers insert
   * a second text when they process a document again, and would fail for ever. Tried once a
   * process; never rejects, since without it all still works.
   */
  async #makeIndex(): Promise<void> {
    try {
      const indexes = await this.#texts.indexes().catch(() => []);
      if (indexes.some(({ name, unique }) => name === "doc_id_1" && unique)) {
        await this.#texts.dropIndex("doc_id_1");
      }
      await this.#texts.createIndex({ doc_id: 1 });
    } catch (error) {
      if (!this.#closed) this.#log.warn("The index on doc_id could not be made", { error });
    }
  }
}

function openClient(url: string): MongoClient {
  try {
    return new MongoClient(url, {
      serverSelectionTimeoutMS: CONNECT_TIMEOUT,
      connectTimeoutMS: CONNECT_TIMEOUT,
      waitQueueTimeoutMS: CONNECT_TIMEOUT,
      socketTimeoutMS: ANSWER_TIMEOUT,
    });
  } catch {
    // The driver's own message may quote parts of the URL.
    throw new Error("The MongoDB connection string is malformed");
  }
}

/** The fields of the contract: workers write more, and may leave some out. */
function toText(stored: Partial<ExtractedText>): ExtractedText {
  const { ocr, classification } = stored;
  return {
    doc_id: stored.doc_id ?? 0,
    filename: stored.filename ?? "",
    file_type: stored.file_type ?? "",
    blob_path: stored.blob_path ?? "",
    extracted_text: stored.extracted_text ?? "",
    ocr: { ...NO_OCR, ...ocr },
    classification: classification?.category ? classification : null,
    processed_at: new Date(stored.processed_at ?? 0),
  };
}
