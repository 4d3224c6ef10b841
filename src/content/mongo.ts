import { isIPv6 } from "node:net";
import { type Collection, type Filter, MongoClient, MongoError, type ObjectId } from "mongodb";
import type { Window } from "../data/database.ts";
import { AppError, unavailable, within } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { ContentStore, ExtractedText, Hits, SearchTerm } from "./content-store.ts";
import { makeDocIdIndex, makeSearchIndexes } from "./mongo-indexes.ts";
import {
  FOLDED_BEFORE,
  matching,
  NEVER_FOLDED,
  NOT_FOUND,
  type StoredText,
  scoring,
  searchFields,
} from "./mongo-search.ts";
import { snippetOf } from "./snippet.ts";

/** To find and reach a server, or to close. */
const CONNECT_TIMEOUT_MS = 5_000;
const ANSWER_TIMEOUT_MS = 10_000;

const NO_SEARCH =
  "The text store of this server has no full-text index, so documents can't be searched.";

interface Found {
  doc_id: number;
  extracted_text?: string | null;
  score?: number;
}

/** More hits are not counted. */
const MAX_COUNT = 10_000;
/** Texts that nobody has folded yet, whose older ones a search leaves out. */
const MAX_STALE = 10_000;
/** Replaced texts are looked for so far back; at first all are. */
const LOOK_BACK_MS = 24 * 60 * 60 * 1000;

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
  readonly #texts: Collection<StoredText>;
  readonly #log: Logger;
  #docIdIndex: Promise<void> | undefined;
  #searchIndexes: Promise<boolean> | undefined;
  #hasSeenAll = false;
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
    this.#texts = this.#client.db(database).collection<StoredText>("ocr_results");
    this.#log = log;
    if (readOnly) this.#docIdIndex = Promise.resolve();
    this.description = `MongoDB (${this.#client.options.hosts.join(", ")})`;
  }

  async connect(): Promise<void> {
    await this.ping().catch((error: unknown) =>
      this.#log.warn("MongoDB is not reachable; every use tries again", { error }),
    );
  }

  async put(text: ExtractedText, ownerId?: number): Promise<string> {
    const nassaq = ownerId === undefined ? {} : { nassaq: searchFields(text, ownerId) };
    return this.#call(async () => {
      const stored = await this.#texts.findOneAndReplace(
        { doc_id: text.doc_id },
        { ...text, ...nassaq },
        {
          upsert: true,
          returnDocument: "after",
          sort: { _id: -1 },
          projection: { _id: 1 },
        },
      );
      if (stored && ownerId !== undefined) await this.#hideOlder(text.doc_id, stored._id);
      return String(stored?._id);
    });
  }

  async get(docId: number): Promise<ExtractedText | undefined> {
    const options = { sort: { _id: -1 }, projection: { _id: 0, nassaq: 0 } } as const;
    const stored = await this.#call(() => this.#texts.findOne({ doc_id: docId }, options));
    if (stored === null) return undefined;
    const classification = stored.classification?.category ? stored.classification : null;
    return { ...stored, classification, processed_at: new Date(stored.processed_at) };
  }

  async delete(docId: number): Promise<void> {
    await this.#call(() => this.#texts.deleteMany({ doc_id: docId }));
  }

  /** Counts up to 10,000. Others' texts may cost time: the text index is everybody's. */
  async search(
    terms: readonly SearchTerm[],
    ownerId: number | undefined,
    { skip, limit }: Window,
  ): Promise<Hits> {
    return this.#call(async () => {
      if (!(await this.#canSearch())) throw new AppError("not_implemented", NO_SEARCH);
      const never = await this.#listDocIds(NEVER_FOLDED, MAX_STALE);
      const filter = matching(terms, ownerId, never);
      const score = scoring(terms);
      const total = await this.#texts.countDocuments(filter, { limit: MAX_COUNT + 1 });
      const found = await this.#texts
        .find<Found>(filter)
        .project<Found>({ _id: 0, doc_id: 1, extracted_text: 1, ...score })
        .sort({ ...score, doc_id: -1 })
        .skip(skip)
        .limit(limit)
        .toArray();
      const hits = found.map(({ doc_id, extracted_text, score = 0 }) => {
        return { docId: doc_id, score, snippet: snippetOf(extracted_text ?? "", terms) };
      });
      return { total: Math.min(total, MAX_COUNT), isExact: total <= MAX_COUNT, hits };
    });
  }

  async listUnindexed(limit: number): Promise<number[]> {
    return this.#call(async () => {
      if (!(await this.#canSearch())) return [];
      const never = await this.#listDocIds(NEVER_FOLDED, limit);
      if (never.length === limit) return never;
      const since = { processed_at: { $gt: new Date(Date.now() - LOOK_BACK_MS) } };
      const filter = this.#hasSeenAll ? { ...FOLDED_BEFORE, ...since } : FOLDED_BEFORE;
      const before = await this.#listDocIds(filter, limit);
      this.#hasSeenAll ||= before.length < limit;
      return [...new Set([...never, ...before])].slice(0, limit);
    });
  }

  async ownerOf(docId: number): Promise<number | undefined> {
    const options = { sort: { _id: -1 }, projection: { _id: 0, nassaq: 1 } } as const;
    const stored = await this.#call(() => this.#texts.findOne({ doc_id: docId }, options));
    return stored?.nassaq?.owner_id || undefined;
  }

  async #listDocIds(filter: Filter<StoredText>, limit: number): Promise<number[]> {
    const found = this.#texts.find(filter).project<Found>({ _id: 0, doc_id: 1 }).limit(limit);
    return (await found.toArray()).map(({ doc_id }) => doc_id);
  }

  /** The newest text as it is now: when it is replaced meanwhile it stays unindexed. */
  async index(docId: number, ownerId: number | undefined): Promise<void> {
    await this.#call(async () => {
      const text = await this.#texts.findOne({ doc_id: docId }, { sort: { _id: -1 } });
      if (!text) return;
      const nassaq = ownerId === undefined ? NOT_FOUND : searchFields(text, ownerId);
      const { _id, processed_at } = text;
      await this.#texts.updateOne({ _id, processed_at }, { $set: { nassaq } });
      await this.#hideOlder(docId, _id);
    });
  }

  async #hideOlder(docId: number, newest: ObjectId): Promise<void> {
    const older = { doc_id: docId, _id: { $lt: newest } };
    await this.#texts.updateMany(older, { $set: { nassaq: NOT_FOUND } });
  }

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
      this.#docIdIndex ??= this.#makeDocIdIndex();
      return await operation();
    } catch (error) {
      throw error instanceof MongoError ? unavailable("The content store", error) : error;
    }
  }

  async #makeDocIdIndex(): Promise<void> {
    await makeDocIdIndex(this.#texts).catch((error: unknown) => {
      if (!this.#closed) this.#log.warn("The index on doc_id could not be made", { error });
    });
  }

  /** Asks the server once; again when it could not be asked. */
  async #canSearch(): Promise<boolean> {
    this.#searchIndexes ??= makeSearchIndexes(this.#texts).then((error) => {
      if (error) this.#log.warn("MongoDB has no text index; searches are refused", { error });
      return error === undefined;
    });
    return this.#searchIndexes.catch((error: unknown) => {
      this.#searchIndexes = undefined;
      throw error;
    });
  }
}
