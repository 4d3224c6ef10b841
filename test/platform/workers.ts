import type { ContainerClient } from "@azure/storage-blob";
import { connect } from "amqplib";
import type { ContentStore } from "../../src/content/content-store.ts";
import type { Database } from "../../src/data/database.ts";

/** The two workers of the platform, as the table "The workers around it" of the data specification has them. */
export type Backend = "ocr_api" | "ai_foundry";

interface Job {
  doc_id: number;
  file_path: string;
  filename: string;
  user_id: number;
}

/** What a worker shares with the server. */
export interface Platform {
  amqpUrl: string;
  database: Database;
  container: ContainerClient;
  content: ContentStore;
}

export interface Worker {
  /** What went wrong, a line each. The platform's workers log it; the tests want none. */
  readonly faults: string[];
  stop(): Promise<void>;
}

/** How the cloud worker classifies a file: the folder that it moves the blob to is this in lower case. */
export const categoryOf = (filename: string): string =>
  filename.length % 2 === 0 ? "Invoices" : "Letters";

/** Host and first segment (the container) off, percent-decoded. */
export function blobName(filePath: string): string {
  const [, ...segments] = new URL(filePath).pathname.slice(1).split("/");
  return decodeURIComponent(segments.join("/"));
}

/** Takes one message at a time: acks after success, requeues on any failure, for ever. */
export async function startWorker(
  backend: Backend,
  platform: Platform,
  queue = backend === "ocr_api" ? "ocr_queue" : "ai_foundry_queue",
): Promise<Worker> {
  const connection = await connect(platform.amqpUrl);
  const channel = await connection.createChannel();
  await channel.assertQueue(queue, { durable: true });
  await channel.prefetch(1);
  const faults: string[] = [];
  const work = backend === "ocr_api" ? recognise : recogniseAndClassify;
  let last: Promise<void> = Promise.resolve();
  const { consumerTag } = await channel.consume(queue, (message) => {
    if (message === null) return;
    last = work(platform, JSON.parse(message.content.toString())).then(
      () => channel.ack(message),
      (error) => {
        faults.push(`${message.content}: ${error}`);
        channel.nack(message, false, true);
      },
    );
  });
  return {
    faults,
    async stop() {
      await channel.cancel(consumerTag);
      await last;
      await channel.close();
      await connection.close();
    },
  };
}

async function recognise(platform: Platform, job: Job): Promise<void> {
  await setStage(platform.database, job.doc_id, "OCR", "Processing");
  await platform.container.getBlobClient(blobName(job.file_path)).downloadToBuffer();
  await setStage(platform.database, job.doc_id, "OCR", "Finished");
}

async function recogniseAndClassify(platform: Platform, job: Job): Promise<void> {
  const { database, container, content } = platform;
  await setStage(database, job.doc_id, "OCR", "Processing");
  const source = container.getBlobClient(blobName(job.file_path));
  const bytes = await source.downloadToBuffer();
  await setStage(database, job.doc_id, "OCR", "Finished");

  await setStage(database, job.doc_id, "Classification", "Processing");
  const category = categoryOf(job.filename);
  const moved = `${category.toLowerCase()}/${job.filename}`;
  await container.getBlockBlobClient(moved).uploadData(bytes);
  await source.delete();
  await setStage(database, job.doc_id, "Classification", "Finished");

  const mongoDocId = await content.put({
    doc_id: job.doc_id,
    filename: job.filename,
    file_type: "txt",
    blob_path: moved,
    extracted_text: `text of ${job.filename}`,
    ocr: {
      page_count: 1,
      word_count: 3,
      avg_confidence: 0.93,
      primary_language: "ar",
      elapsed_seconds: 1.5,
    },
    classification: { category, confidence: 0.8 },
    processed_at: new Date(),
  });
  await database.run("UPDATE Documents SET mongo_doc_id = @mongoDocId WHERE doc_id = @docId", {
    mongoDocId,
    docId: job.doc_id,
  });
  // Fractions are no parameters of the port: the worker of the platform binds its own.
  await database.run(
    `INSERT INTO Ocr_Results (doc_id, page_count, word_count, avg_confidence, primary_language,
       category, classification_confidence, cost_usd_ocr, cost_usd_classification, processed_at)
     VALUES (@docId, 1, 3, 0.93, 'ar', @category, 0.8, 0.0015, 0.0002, @processedAt)`,
    { docId: job.doc_id, category, processedAt: new Date() },
  );
}

/** Changes nothing and fails unless exactly one row has this document and stage. */
async function setStage(
  database: Database,
  docId: number,
  stage: string,
  status: "Processing" | "Finished",
): Promise<void> {
  const column = status === "Processing" ? "start_time" : "end_time";
  const rows = await database.all(
    "SELECT status_id FROM Processing_Status WHERE doc_id = @docId AND stage_name = @stage",
    { docId, stage },
  );
  if (rows.length !== 1) throw new Error(`${rows.length} rows of stage ${stage}`);
  await database.run(
    `UPDATE Processing_Status SET status = @status, ${column} = @now
     WHERE doc_id = @docId AND stage_name = @stage`,
    { docId, stage, status, now: new Date() },
  );
}
