import { type Collection, type MongoError, MongoServerError } from "mongodb";
import type { StoredText } from "./mongo-search.ts";

/** An index of this name has other options (mongodb.com, error codes). */
const INDEX_CONFLICTS: unknown[] = [85, 86];
/** Not reached in time, another is primary, shutting down, overloaded, interrupted. */
const PASSING: unknown[] = [6, 7, 50, 89, 91, 189, 262, 10107, 11600, 11602, 13435, 13436, 16500];

/** One text index a collection. No word has a language, whatever other fields a document has. */
const TEXT_INDEX = {
  key: { "nassaq.folded": "text" },
  default_language: "none",
  language_override: "nassaq_language",
} as const;
const OTHER_INDEXES = [{ key: { "nassaq.owner_id": 1 } }, { key: { processed_at: 1 } }];

/** Plain, not unique as in older versions: workers insert a second text. Works without. */
export async function makeDocIdIndex(texts: Collection<StoredText>): Promise<void> {
  const make = () => texts.createIndex({ doc_id: 1 });
  await make().catch(async (error: MongoServerError) => {
    if (!INDEX_CONFLICTS.includes(error.code)) throw error;
    await texts.dropIndex("doc_id_1");
    await make();
  });
}

/** Returns why the server refuses to have them, if so. Throws when it can't be asked just now. */
export async function makeSearchIndexes(
  texts: Collection<StoredText>,
): Promise<MongoError | undefined> {
  try {
    await texts.createIndexes([TEXT_INDEX, ...OTHER_INDEXES]);
    return undefined;
  } catch (error) {
    if (error instanceof MongoServerError && !PASSING.includes(error.code)) return error;
    throw error;
  }
}
