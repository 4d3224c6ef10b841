import { setTimeout as sleep } from "node:timers/promises";
import { type Document, findDocument, listDocumentsAfter } from "../data/documents.ts";
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

interface Progress {
  documents: number;
  blobs: number;
  /** One line each. */
  findings: string[];
}

/**
 * Compares every row with its blob, its bytes and its text, and every blob with the rows. It writes
 * nothing, and what changes meanwhile is no finding. Throws `unavailable` when a store can't be
 * reached. Constant memory.
 */
export async function* checkAll(parts: Parts): AsyncGenerator<Progress> {
  const { database } = parts;
  let documents: Document[] = [];
  do {
    documents = await listDocumentsAfter(database, documents.at(-1)?.docId ?? 0, PAGE);
    const suspects: number[] = [];
    for (const document of documents)
      if ((await faultsOf(parts, document)).length > 0) suspects.push(document.docId);
    if (suspects.length > 0) await sleep(SECOND_LOOK);
    const findings: string[] = [];
    for (const docId of suspects) {
      const document = await findDocument(database, docId);
      const faults = document ? await faultsOf(parts, document) : [];
      findings.push(...faults.map((fault) => `document ${docId}: ${fault}`));
    }
    yield { documents: documents.length, blobs: 0, findings };
  } while (documents.length === PAGE);

  for await (const key of parts.storage.keys("")) {
    const isStray = (await judge(parts, key, 0)) === "stray";
    const findings = isStray ? [`blob ${key}: no document and no deletion names it`] : [];
    yield { documents: 0, blobs: 1, findings };
  }
}

async function faultsOf(parts: Parts, document: Document): Promise<string[]> {
  const faults = [await blobFault(parts, document), await textFault(parts, document)];
  return faults.filter((fault) => fault !== undefined);
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
