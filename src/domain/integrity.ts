import { setTimeout as sleep } from "node:timers/promises";
import { type Document, listDocumentsAfter, listDocumentsByIds } from "../data/documents.ts";
import { AppError } from "../errors.ts";
import { BlobNotFound } from "../storage/storage.ts";
import type { Core } from "./authority.ts";
import type { Stores } from "./deletions.ts";
import { findBlobOf } from "./documents.ts";
import { judge } from "./sweep.ts";

/** Documents that are checked between two reports of progress. */
const PAGE = 20;
/** Milliseconds before the second look: what a request or a worker changes is whole by then. */
const SECOND_LOOK = 2000;

type Parts = Stores & Pick<Core, "database" | "now">;

/**
 * Compares every row with its blob, its bytes and its text, and every blob with the rows, in
 * constant memory. It yields how many it looked at and a line for each finding. It writes nothing,
 * and what changes meanwhile is no finding. Throws `unavailable` when a store can't be reached.
 */
export async function* checkAll(parts: Parts) {
  let documents: Document[] = [];
  do {
    documents = await listDocumentsAfter(parts.database, documents.at(-1)?.docId ?? 0, PAGE);
    const suspects = await lookAt(parts, documents);
    if (suspects.length > 0) await sleep(SECOND_LOOK);
    const ids = new Set(suspects.map(({ docId }) => docId));
    const found = await lookAt(parts, await listDocumentsByIds(parts.database, [...ids]));
    const findings = found.map(({ docId, fault }) => `document ${docId}: ${fault}`);
    yield { documents: documents.length, blobs: 0, findings };
  } while (documents.length === PAGE);

  for await (const key of parts.storage.keys("")) {
    const isStray = (await judge(parts, key, 0)) === "stray";
    const findings = isStray ? [`blob ${key}: no document and no deletion names it`] : [];
    yield { documents: 0, blobs: 1, findings };
  }
}

async function lookAt(parts: Parts, documents: readonly Document[]) {
  const found: { docId: number; fault: string }[] = [];
  for (const document of documents)
    for (const fault of [await blobFault(parts, document), await textFault(parts, document)])
      if (fault !== undefined) found.push({ docId: document.docId, fault });
  return found;
}

/** Where a download finds it, and whether that would give the bytes of the row. */
async function blobFault(parts: Parts, document: Document): Promise<string | undefined> {
  const { fileSize, sha256 } = document;
  try {
    const { key, blob } = await findBlobOf(parts, document);
    if (fileSize !== null && fileSize !== blob.size)
      return `the blob ${key} has ${blob.size} bytes, not ${fileSize}`;
    if (sha256 !== null && sha256 !== (await blob.hash()))
      return `the blob ${key} has other bytes: its SHA-256 is not the row's`;
    return undefined;
  } catch (error) {
    if (error instanceof AppError) throw error;
    const what = error instanceof BlobNotFound ? "no blob" : "its blob can't be read";
    return `${what}: ${(error as Error).message}`;
  }
}

async function textFault({ content }: Parts, document: Document) {
  const { docId, status, mongoDocId } = document;
  const hasText = (await content.get(docId)) !== undefined;
  if (!hasText) return mongoDocId === "pending" ? undefined : `its text ${mongoDocId} is not there`;
  // A worker writes the text first.
  const isLate = status === "Finished" && mongoDocId === "pending";
  return isLate ? "it has a text, but mongo_doc_id is still 'pending'" : undefined;
}
