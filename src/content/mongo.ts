import { isIPv6 } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import { type Collection, type Filter, MongoClient, MongoError, MongoServerError } from "mongodb";
import type { Window } from "../data/database.ts";
import { AppError, unavailable, within } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { ContentStore, ExtractedText, Hit, SearchTerm } from "./content-store.ts";
import {
  foldedBefore,
  matching,
  NEVER_FOLDED,
  NOT_FOUND,
  SEARCH_INDEXES,
  type StoredText,
  searchFields,
  textIn,
} from "./mongo-search.ts";
import { snippetOf } from "./snippet.ts";

/** To find and reach a server, or to close. */
const CONNECT_TIMEOUT_MS = 5_000;
const ANSWER_TIMEOUT_MS = 10_000;
/** Of hits. */
const MAX_COUNT = 10_000;
/** Replaced texts are looked for so far back; at first all are. */
const LOOK_BACK_MS = 24 * 60 * 60 * 1000;
/** Error codes (mongodb.com): an index of this name has other options. */
const INDEX_CONFLICTS: unknown[] = [85, 86];
/** Too slow, shutting down, not the primary, interrupted, overloaded. */
const PASSING: unknown[] = [50, 91, 189, 262, 10107, 11600, 11602, 13435, 13436, 16500];

const NO_SEARCH =
  "The text store of this server has no full-text index, so documents can't be searched.";

type Found = Pick<ExtractedText, "doc_id" | "extracted_text"> & { score?: number };
/** The newest text of a document. */
const NEWEST = { sort: { _id: -1 } } as const;

/** The connection string, a secret; any character in user and password survives. */
export function mongoConnectionString(settings: {
  host: string;
  port: number;
  user: string;
  password: string;
  tls: boolean;
  tlsInsecure: boolean;
}): string {
  const { host, port, tls, tlsInsecure } = settings;
  const user = [settings.user, settings.password].map(encodeURIComponent).join(":");
  return (
    `mongodb://${user}@${isIPv6(host) ? `[${host}]` : host}:${port}/?tls=${tls}` +
    `&tlsInsecure=${tlsInsecure}&authMechanism=SCRAM-SHA-256&retrywrites=false&maxIdleTimeMS=120000`
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
  #makesIndex = false;
  #docIdIndex: Promise<void> | undefined;
  #canBeSearched: Promise<boolean> | undefined;
  #lookBackTo = new Date(0);
  #closed = false;

  /**
   * `url` is a secret. Throws when it is malformed, without repeating it. No index is made before
   * `connect`, so that whoever only reads makes none.
   */
  constructor({ url, database, log }: { url: string; database: string; log: Logger }) {
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
    this.description = `MongoDB (${this.#client.options.hosts.join(", ")})`;
  }

  async connect(): Promise<void> {
    this.#makesIndex = true;
    await this.ping().catch((error: unknown) =>
      this.#log.warn("MongoDB is not reachable; every use tries again", { error }),
    );
  }

  async put(text: ExtractedText, ownerId?: number): Promise<string> {
    const { doc_id } = text;
    const upsert = { ...NEWEST, upsert: true, returnDocument: "after" } as const;
    const options = { ...upsert, projection: { _id: 1 } };
    const put = () => this.#texts.findOneAndReplace({ doc_id }, text, options);
    const stored = await this.#call(put);
    // What fails here is done by the chore that asks for unindexed texts.
    if (ownerId !== undefined) await this.index(doc_id, ownerId).catch(() => {});
    return String(stored?._id);
  }

  async get(docId: number): Promise<ExtractedText | undefined> {
    const options = { ...NEWEST, projection: { _id: 0, nassaq: 0 } };
    const stored = await this.#call(() => this.#texts.findOne({ doc_id: docId }, options));
    if (!stored) return undefined;
    const classification = stored.classification?.category ? stored.classification : null;
    return { ...stored, classification, processed_at: new Date(stored.processed_at) };
  }

  async delete(docId: number): Promise<void> {
    await this.#call(() => this.#texts.deleteMany({ doc_id: docId }));
  }

  /** Counts up to 10,000. Others' texts may cost time: the text index is everybody's. */
  async search(terms: readonly SearchTerm[], ownerId: number | undefined, window: Window) {
    return this.#call(async () => {
      if (!(await this.#canSearch())) throw new AppError("not_implemented", NO_SEARCH);
      const { filter, score } = matching(terms, ownerId);
      const count = await this.#texts.countDocuments(filter, { limit: MAX_COUNT + 1 });
      const found = this.#texts
        .find(filter, window)
        .project<Found>({ _id: 0, doc_id: 1, extracted_text: 1, ...score })
        .sort({ ...score, doc_id: -1 });
      const hits: Hit[] = [];
      // One after the other: a page of long texts would take a gigabyte.
      for await (const { doc_id: docId, extracted_text, score = 0 } of found) {
        hits.push({ docId, score, snippet: snippetOf(textIn(extracted_text), terms) });
        await nextTurn();
      }
      // Not those whose newer text a worker has inserted meanwhile.
      const doc_id = { $in: hits.map(({ docId }) => docId) };
      const stale = await this.#listDocIds({ ...NEVER_FOLDED, doc_id }, MAX_COUNT);
      const fresh = hits.filter(({ docId }) => !stale.includes(docId));
      const total = Math.min(count, MAX_COUNT) - (hits.length - fresh.length);
      return { total, isExact: count <= MAX_COUNT, hits: fresh };
    });
  }

  async listUnindexed(limit: number): Promise<number[]> {
    return this.#call(async () => {
      if (!(await this.#canSearch())) return [];
      const never = await this.#listDocIds(NEVER_FOLDED, limit);
      if (never.length === limit) return never;
      const before = await this.#listDocIds(foldedBefore(this.#lookBackTo), limit);
      if (before.length < limit) this.#lookBackTo = new Date(Date.now() - LOOK_BACK_MS);
      return [...never, ...before].slice(0, limit);
    });
  }

  async #listDocIds(filter: Filter<StoredText>, limit: number): Promise<number[]> {
    const found = this.#texts.find(filter, { limit }).project<Found>({ _id: 0, doc_id: 1 });
    return (await found.toArray()).map(({ doc_id }) => doc_id);
  }

  /** The newest text as it is now: when it is replaced meanwhile it stays unindexed. */
  async index(doc_id: number, ownerId: number | undefined): Promise<void> {
    await this.#call(async () => {
      // Folded words may double a document's size.
      if (!(await this.#canSearch())) return;
      const text = await this.#texts.findOne({ doc_id }, NEWEST);
      if (!text) return;
      const { _id, processed_at } = text;
      const nassaq = searchFields(text, ownerId);
      await this.#texts.updateOne({ _id, processed_at }, { $set: { nassaq } });
      await this.#texts.updateMany({ doc_id, _id: { $lt: _id } }, { $set: { nassaq: NOT_FOUND } });
    });
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
      if (this.#makesIndex) this.#docIdIndex ??= this.#makeDocIdIndex();
      return await operation();
    } catch (error) {
      throw error instanceof MongoError ? unavailable("The content store", error) : error;
    }
  }

  /** Plain, not unique as in older versions: workers insert a second text. Works without. */
  async #makeDocIdIndex(): Promise<void> {
    try {
      await this.#texts.createIndex({ doc_id: 1 }).catch(async (error: MongoServerError) => {
        if (!INDEX_CONFLICTS.includes(error.code)) throw error;
        await this.#texts.dropIndex("doc_id_1");
        await this.#texts.createIndex({ doc_id: 1 });
      });
    } catch (error) {
      if (!this.#closed) this.#log.warn("The index on doc_id could not be made", { error });
    }
  }

  /** Asks the server once; again when it could not be asked. */
  #canSearch(): Promise<boolean> {
    this.#canBeSearched ??= this.#texts.createIndexes(SEARCH_INDEXES).then(
      () => true,
      (error: unknown) => {
        if (error instanceof MongoServerError && !PASSING.includes(error.code)) {
          this.#log.warn("MongoDB has no text index; searches are refused", { error });
          return false;
        }
        this.#canBeSearched = undefined;
        throw error;
      },
    );
    return this.#canBeSearched;
  }
}
