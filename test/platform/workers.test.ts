import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { BlobServiceClient, type ContainerClient } from "@azure/storage-blob";
import { connect } from "amqplib";
import { startTestApp, type TestApp } from "../support/app.ts";
import { type Azurite, startAzurite } from "../support/azurite.ts";
import { ENGINES } from "../support/engines.ts";
import { findRabbitMQ } from "../support/rabbitmq.ts";
import { until } from "../support/wait.ts";
import { type Backend, categoryOf, startWorker, type Worker } from "./workers.ts";

const PATH = "أرشيف/2026 #1";
const NAMES = [
  "plain.txt",
  "تقرير سنوي.pdf",
  "عقد#٣.pdf",
  "100%.txt",
  "a%20b.txt",
  "a+b.txt",
  "a b  c.txt",
  "what?.txt",
  "x&y=z.txt",
  "semi;colon,comma.txt",
  "it's [draft] (1).txt",
  'quote".txt',
  "emoji 📄.txt",
  "ünïcödé.txt",
  "中文文件.pdf",
  "no extension",
  ".hidden",
  "dots...txt",
  "~tilde^caret`.txt",
  `${"م".repeat(120)}.txt`,
  "never read 1.txt",
  "never read 12.txt",
];

let azurite: Azurite;
let rabbit: Awaited<ReturnType<typeof findRabbitMQ>>;
before(async () => {
  [azurite, rabbit] = await Promise.all([
    startAzurite({ host: "nassaq.blob.azurite" }),
    findRabbitMQ(),
  ]);
});
after(async () => {
  await azurite?.close();
  if (rabbit && !("skip" in rabbit)) await rabbit.dispose();
});

interface Stage {
  app: TestApp;
  container: ContainerClient;
  amqpUrl: string;
  worker: Worker;
  close(): Promise<void>;
}

for (const engine of ENGINES) {
  for (const backend of ["ocr_api", "ai_foundry"] as const) {
    describe(`a worker of the platform, ${backend}, on ${engine.name}`, () => {
      test("20 difficult names are finished, come back byte by byte and leave nothing", async (t) => {
        if ("skip" in rabbit) return t.skip(rabbit.skip);
        const stage = await setUp(backend, engine, rabbit.url);
        try {
          await documentsOfAllNames(stage, backend);
        } finally {
          await stage.close();
        }
      });
    });
  }

  test(`two moved blobs of one name never swap, on ${engine.name}`, async (t) => {
    if ("skip" in rabbit) return t.skip(rabbit.skip);
    const stage = await setUp("ai_foundry", engine, rabbit.url);
    try {
      await twinsKeepApart(stage);
    } finally {
      await stage.close();
    }
  });
}

async function setUp(
  backend: Backend,
  engine: (typeof ENGINES)[number],
  amqpUrl: string,
): Promise<Stage> {
  const name = `test-${randomBytes(6).toString("hex")}`;
  const app = await startTestApp(
    {
      env: {
        BLOB_STORAGE_TYPE: "azure",
        BLOB_CONNECTION_STR: azurite.connectionString,
        BLOB_STORAGE_CONTAINER_NAME: name,
        MESSAGE_BROKER_URL: amqpUrl,
        OCR_QUEUE_NAME: name,
        PROCESSING_BACKEND: backend,
      },
    },
    engine,
  );
  const container = BlobServiceClient.fromConnectionString(
    azurite.connectionString,
  ).getContainerClient(name);
  const { database, content } = app.app;
  const worker = await startWorker(backend, { amqpUrl, database, container, content }, name);
  for (const full_path of [PATH, "twin"]) {
    const { status } = await app.call("POST", "/api/v1/paths", {
      as: "admin",
      json: { full_path },
    });
    assert.equal(status, 201);
  }
  return {
    app,
    container,
    amqpUrl,
    worker,
    async close() {
      await worker.stop();
      await app.close();
      const connection = await connect(amqpUrl);
      const channel = await connection.createChannel();
      await channel.deleteQueue(name);
      await connection.close();
    },
  };
}

async function upload(app: TestApp, filename: string, path: string, data: string) {
  const multipart = [
    { name: "full_path", value: path },
    { name: "file", filename, data },
  ];
  const { status, body } = await app.call("POST", "/api/v1/docs/upload", { as: "user", multipart });
  assert.equal(status, 201, filename);
  return Number(body.doc_id);
}

async function finished({ app, worker }: Stage, docId: number, stages: number): Promise<void> {
  const allFinished = async () => {
    const { body } = await app.call("GET", `/api/v1/docs/${docId}`, { as: "user" });
    const done = body.stages.filter((each: { status: string }) => each.status === "Finished");
    return body.stages.length === stages && done.length === stages;
  };
  await until(allFinished, `document ${docId} finished`).catch((cause) => {
    throw new Error(`the worker said: ${worker.faults.join("; ")}`, { cause });
  });
}

/** The row of metrics is the last thing that the cloud worker writes. */
const measured = (app: TestApp, docId: number) =>
  until(
    () =>
      app.app.database.first("SELECT result_id FROM Ocr_Results WHERE doc_id = @docId", { docId }),
    `metrics of document ${docId}`,
  );

const download = (app: TestApp, docId: number) =>
  app.call("GET", `/api/v1/docs/${docId}/download`, { as: "user" });

async function blobsOf(container: ContainerClient): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of container.listBlobsFlat()) names.push(name);
  return names.sort();
}

async function documentsOfAllNames(stage: Stage, backend: Backend): Promise<void> {
  const { app, container, worker } = stage;
  const cloud = backend === "ai_foundry";
  const documents: { docId: number; filename: string; data: string }[] = [];
  for (const filename of NAMES) {
    const data = `bytes of ${filename}`;
    documents.push({ docId: await upload(app, filename, PATH, data), filename, data });
  }
  for (const { docId } of documents) await finished(stage, docId, cloud ? 2 : 1);
  assert.deepEqual(worker.faults, []);

  if (cloud) {
    for (const { docId } of documents) await measured(app, docId);
    const moved = NAMES.map((name) => `${categoryOf(name).toLowerCase()}/${name}`).sort();
    assert.deepEqual(await blobsOf(container), moved);
  }
  for (const { docId, filename, data } of documents) {
    // Blobs that nobody asked for since they moved are deleted as well.
    if (filename.startsWith("never read")) continue;
    const { status, bytes } = await download(app, docId);
    assert.deepEqual([status, bytes.toString()], [200, data], filename);
    const { body } = await app.call("GET", `/api/v1/docs/${docId}`, { as: "user" });
    assert.equal(body.ocr?.page_count, cloud ? 1 : undefined);
    assert.equal(body.classification?.category, cloud ? categoryOf(filename) : undefined);
  }
  for (const { docId } of documents) {
    const { status } = await app.call("DELETE", `/api/v1/docs/${docId}`, { as: "admin" });
    assert.equal(status, 200);
  }
  await nothingLeft(
    stage,
    documents.map(({ docId }) => docId),
  );
}

async function nothingLeft({ app, container }: Stage, docIds: readonly number[]): Promise<void> {
  assert.deepEqual(await blobsOf(container), []);
  for (const table of ["Documents", "Processing_Status", "Ocr_Results", "Outbox", "Deletions"]) {
    assert.deepEqual(await app.app.database.all(`SELECT * FROM ${table}`), [], table);
  }
  for (const docId of docIds) assert.equal(await app.app.content.get(docId), undefined);
}

async function twinsKeepApart(stage: Stage): Promise<void> {
  const { app, container } = stage;
  const first = await upload(app, "same.txt", PATH, "the first one's bytes");
  await finished(stage, first, 2);
  const second = await upload(app, "same.txt", "twin", "the second one's bytes, longer");
  await finished(stage, second, 2);
  for (const docId of [first, second]) await measured(app, docId);
  assert.equal((await download(app, first)).status, 404);
  const { status, bytes } = await download(app, second);
  assert.deepEqual([status, bytes.toString()], [200, "the second one's bytes, longer"]);

  assert.equal((await app.call("DELETE", `/api/v1/docs/${first}`, { as: "admin" })).status, 200);
  assert.equal((await download(app, second)).status, 200, "the other's bytes were deleted");
  assert.equal((await app.call("DELETE", `/api/v1/docs/${second}`, { as: "admin" })).status, 200);
  assert.deepEqual(await blobsOf(container), []);
}
