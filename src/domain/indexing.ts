import type { ContentStore } from "../content/content-store.ts";
import type { Database } from "../data/database.ts";
import { listDocumentsByIds } from "../data/documents.ts";

const BATCH = 100;

/**
 * Lets searches find the texts that other programs wrote: tells the store whose they are, until
 * none is left or `signal` is aborted. Of a document that is gone they are nobody's.
 */
export async function indexTexts(
  { database, content }: { database: Database; content: ContentStore },
  signal: AbortSignal,
): Promise<void> {
  let docIds: number[] = [];
  do {
    const previous = docIds[0];
    docIds = await content.listUnindexed(BATCH);
    // Another program writes this one again and again.
    if (docIds.length === 0 || docIds[0] === previous) return;
    const documents = await listDocumentsByIds(database, docIds);
    for (const docId of docIds) {
      if (signal.aborted) return;
      const document = documents.find((each) => each.docId === docId);
      await content.index(docId, document?.uploadedByUserId);
    }
  } while (docIds.length === BATCH);
}
