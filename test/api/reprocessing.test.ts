import assert from "node:assert/strict";
import { Readable } from "node:stream";
import type { Queryable } from "../../src/data/database.ts";
import { addToOutbox } from "../../src/data/outbox.ts";
import { unavailable } from "../../src/errors.ts";
import { apiSuite, type CallOptions, type Suite, type TestApp } from "../support/app.ts";
import { setStage, textOf, upload } from "./document-support.ts";
import { play, type Scenario, scenarios } from "./scenarios.ts";

const NOTHING = 999_999;
const user = { as: "user" } as const;
const admin = { as: "admin" } as const;

const rows: Scenario[] = [
  {
    title: "nothing",
    at: `POST /api/v1/docs/${NOTHING}/reprocess`,
    ...user,
    status: 404,
    detail: `Document with id ${NOTHING} not found.`,
  },
  ...["perhaps", "", "2"].map((force) => ({
    title: "a bad flag",
    at: `POST /api/v1/docs/1/reprocess?force=${force}`,
    ...admin,
    status: 422,
    issues: ["picklist query.force"],
  })),
  {
    title: "no id",
    at: "POST /api/v1/docs/x/reprocess",
    ...admin,
    status: 422,
    issues: ["regex path.doc_id"],
  },
];

const at = (docId: number, query = "") => `POST /api/v1/docs/${docId}/reprocess${query}`;
const again = (app: TestApp, docId: number, status: number, as: CallOptions["as"] = "user") =>
  play(app, { title: "again", at: at(docId, as === "admin" ? "?force=true" : ""), as, status });

interface Stage {
  stage: string;
  status: string;
  endTime: Date | null;
  error: string | null;
  done: number | null;
}

const stagesOf = ({ app: { database } }: TestApp, docId: number) =>
  database.all<Stage>(
    `SELECT stage_name AS stage, status, end_time AS endTime, error_message AS error,
       pages_done AS done FROM Processing_Status WHERE doc_id = @docId ORDER BY status_id`,
    { docId },
  );

const outboxOf = ({ app: { database } }: TestApp, docId: number) =>
  database.all<{ body: string; queue: string; message_id: string }>(
    "SELECT body, queue, message_id FROM Outbox WHERE doc_id = @docId",
    { docId },
  );

const queued = (stage: string): Stage => ({
  stage,
  status: "Queued",
  endTime: null,
  error: null,
  done: null,
});

/** Nothing is published: messages stay in the outbox, where they are looked at. */
const BROKER_DOWN = (app: TestApp, t: Parameters<Parameters<Suite["test"]>[1]>[1]) => {
  delete app.app.broker.enqueue;
  return t.mock.method(app.app.broker, "publish", async () => {
    throw unavailable("The broker");
  });
};

apiSuite("reprocessing", (suite) => {
  scenarios(suite, rows);
  refusals(suite);
  requeues(suite);
  blobs(suite);
  races(suite);
});

function refusals({ test }: Suite): void {
  test("somebody else's document is not there", async (app) => {
    const { doc_id } = await upload(app);
    await setStage(app, doc_id, "Finished");
    for (const query of ["", "?force=true"])
      await play(app, {
        title: "another's",
        at: at(doc_id, query),
        as: "other",
        status: 404,
        detail: `Document with id ${doc_id} not found.`,
      });
    assert.equal((await stagesOf(app, doc_id))[0]?.status, "Finished");
  });

  for (const [status, state] of [
    ["Queued", "queued"],
    ["Processing", "being processed"],
  ] as const) {
    test(`a document that is ${state} is queued again only when an admin forces it`, async (app) => {
      const { doc_id } = await upload(app);
      await setStage(app, doc_id, status, { done: 3, total: 7 });
      const detail = `The document is ${state}; an administrator can force it with ?force=true.`;
      for (const [as, query] of [
        ["user", ""],
        ["user", "?force=true"],
        ["admin", ""],
        ["admin", "?force=false"],
      ] as const)
        await play(app, { title: `${as}${query}`, at: at(doc_id, query), as, status: 409, detail });
      assert.equal((await stagesOf(app, doc_id))[0]?.done, 3);
      await again(app, doc_id, 202, "admin");
      assert.deepEqual(await stagesOf(app, doc_id), [queued("OCR")]);
    });
  }
}

function requeues({ test, testAlone }: Suite): void {
  for (const status of ["Finished", "Failed"]) {
    test(`a document that is ${status} is queued again by its owner, with an audit row`, async (app) => {
      const { doc_id, filename } = await upload(app);
      await setStage(app, doc_id, status, { error: "no text in it", done: 7, total: 7 });
      const { body } = await again(app, doc_id, 202);
      const expected = {
        doc_id,
        filename,
        stage_name: "OCR",
        status: "Queued",
        end_time: null,
        error_message: null,
        pages_done: null,
        pages_total: null,
      };
      assert.deepEqual({ ...body, ...expected }, body);
      assert.deepEqual(body, (await app.call("GET", `/api/v1/docs/${doc_id}/status`, user)).body);
      assert.deepEqual(await stagesOf(app, doc_id), [queued("OCR")]);
      const log = await app.app.database.first<{ user_id: number; details: string }>(
        `SELECT user_id, details FROM Logs
         WHERE action_type = 'document_reprocess' AND entity_id = @doc_id`,
        { doc_id },
      );
      assert.equal(log?.user_id, (await app.as("user")).id);
      const details = JSON.parse(log?.details ?? "");
      assert.deepEqual([details.filename, details.status], [filename, status]);
    });
  }

  testAlone("an upload's message and the new one differ by their ids alone", {}, async (app) => {
    const { doc_id, filename, path } = await upload(app, "تقرير");
    const [first] = await app.takeMessages(1);
    await setStage(app, doc_id, "Finished");
    // The message is the uploader's, whoever asks.
    await again(app, doc_id, 202, "admin");
    const [second] = await app.takeMessages(1);
    assert.equal(second?.body, first?.body);
    assert.notEqual(second?.id, first?.id);
    const user_id = (await app.as("user")).id;
    const expected = { doc_id, file_path: path, filename, user_id };
    assert.deepEqual(JSON.parse(second?.body ?? ""), expected);
  });

  testAlone("a message that was not sent yet is replaced", {}, async (app, t) => {
    const broker = BROKER_DOWN(app, t);
    const { doc_id } = await upload(app);
    const [old] = await outboxOf(app, doc_id);
    await again(app, doc_id, 202, "admin");
    const left = await outboxOf(app, doc_id);
    assert.deepEqual([left.length, left[0]?.body], [1, old?.body]);
    assert.notEqual(left[0]?.message_id, old?.message_id);
    broker.mock.restore();
    assert.equal((await app.takeMessages(1))[0]?.id, left[0]?.message_id);
  });

  const cloud = { env: { PROCESSING_BACKEND: "ai_foundry", OCR_QUEUE_NAME: "ai_foundry_queue" } };
  testAlone("the cloud worker finds one row of each of its stages", cloud, async (app, t) => {
    BROKER_DOWN(app, t);
    const { database } = app.app;
    const both = [queued("OCR"), queued("Classification")];
    const { doc_id } = await upload(app);
    await setStage(app, doc_id, "Finished");
    await setStage(app, doc_id, "Processing", { stage: "Classification" });
    const { body } = await again(app, doc_id, 409);
    assert.match(body.detail, /^The document is being processed/);
    await setStage(app, doc_id, "Failed", { stage: "Classification", error: "no model" });
    await again(app, doc_id, 202);
    assert.deepEqual(await stagesOf(app, doc_id), both);
    assert.deepEqual(
      (await outboxOf(app, doc_id)).map(({ queue }) => queue),
      ["ai_foundry_queue"],
    );

    // As an upload to the local worker left it, and as the reference system may have.
    await database.run("DELETE FROM Processing_Status WHERE stage_name = 'Classification'");
    for (const [stage_name, status] of [
      ["Vectorization", "Finished"],
      ["OCR", "Failed"],
      ["OCR", "Finished"],
    ] as const) {
      const times = { start_time: new Date(), end_time: new Date(), error_message: null };
      await database.insert(
        "Processing_Status",
        { doc_id, stage_name, status, ...times },
        "status_id",
      );
    }
    await again(app, doc_id, 202);
    const stages = await stagesOf(app, doc_id);
    const mine = stages.filter(({ stage }) => stage !== "Vectorization");
    assert.deepEqual(mine, both);
    assert.equal(stages.length, 3);

    await database.run("DELETE FROM Processing_Status");
    await again(app, doc_id, 202, "admin");
    assert.deepEqual(await stagesOf(app, doc_id), both);
  });
}

function blobs({ test, testAlone }: Suite): void {
  test("without its file a document can't be queued again", async (app) => {
    const { doc_id, path } = await upload(app);
    await setStage(app, doc_id, "Finished");
    await app.app.storage.delete(path);
    await play(app, {
      title: "no bytes",
      at: at(doc_id),
      ...user,
      status: 404,
      detail: `The file of document ${doc_id} is missing from the storage.`,
    });
    assert.equal((await stagesOf(app, doc_id))[0]?.status, "Finished");
  });

  testAlone("the message has the address where the file is now", {}, async (app, t) => {
    BROKER_DOWN(app, t);
    const { database, storage, content } = app.app;
    const addressIn = async (docId: number) =>
      JSON.parse((await outboxOf(app, docId))[0]?.body ?? "").file_path;
    const { doc_id, filename, path } = await upload(app);
    await setStage(app, doc_id, "Finished");
    const moved = `letters/${filename}`;
    await storage.upload(Readable.from([await storage.download(path)]), moved);
    await storage.delete(path);
    await content.put(textOf(doc_id, "text", { blob_path: moved }));
    await again(app, doc_id, 202);
    assert.equal(await addressIn(doc_id), storage.url(moved));
    assert.equal((await app.call("GET", `/api/v1/docs/${doc_id}/download`, user)).status, 200);

    // Of the reference system: no key, no size, no hash.
    const old = await upload(app);
    await setStage(app, old.doc_id, "Finished");
    await storage.upload(Readable.from([await storage.download(old.path)]), old.filename);
    await database.run(
      `UPDATE Documents SET blob_key = NULL, sha256 = NULL, file_size = NULL, content_type = NULL
       WHERE doc_id = @docId`,
      { docId: old.doc_id },
    );
    await again(app, old.doc_id, 202);
    assert.equal(await addressIn(old.doc_id), storage.url(old.filename));
  });

  test("with the storage away it is a 503, and nothing changes", async (app, t) => {
    const { doc_id } = await upload(app);
    await setStage(app, doc_id, "Finished");
    const away = t.mock.method(app.app.storage, "properties", async () => {
      throw unavailable("The storage");
    });
    await again(app, doc_id, 503);
    away.mock.restore();
    assert.equal((await stagesOf(app, doc_id))[0]?.status, "Finished");
  });
}

function races({ testAlone }: Suite): void {
  testAlone("of ten that queue a document again at once, one does", {}, async (app, t) => {
    BROKER_DOWN(app, t);
    const { doc_id } = await upload(app);
    await setStage(app, doc_id, "Failed");
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => app.call("POST", at(doc_id).slice(5), user)),
    );
    assert.deepEqual(answers.map(({ status }) => status).sort(), [202, ...Array(9).fill(409)]);
    assert.deepEqual(await stagesOf(app, doc_id), [queued("OCR")]);
    assert.equal((await outboxOf(app, doc_id)).length, 1);
  });

  testAlone("ten that are forced at once leave one row and one message", {}, async (app, t) => {
    BROKER_DOWN(app, t);
    const { doc_id } = await upload(app);
    await app.app.database.run("DELETE FROM Processing_Status");
    await Promise.all(Array.from({ length: 10 }, () => again(app, doc_id, 202, "admin")));
    assert.deepEqual(await stagesOf(app, doc_id), [queued("OCR")]);
    assert.equal((await outboxOf(app, doc_id)).length, 1);
  });

  testAlone(
    "a message that slips in while a document is deleted goes with it",
    {},
    async (app, t) => {
      BROKER_DOWN(app, t);
      const { doc_id } = await upload(app);
      const { database } = app.app;
      const { transaction } = database;
      const late = { doc_id, queue: "q", message_id: "late", body: "{}" };
      let slippedIn = 0;
      t.mock.method(
        database,
        "transaction",
        (work: (tx: Queryable) => Promise<unknown>) =>
          transaction((tx) => {
            const defer: Queryable["defer"] = async (sql, params) => {
              // As on an engine where another transaction commits before this statement's lock.
              if (sql.startsWith("UPDATE Documents SET updated_at = updated_at")) {
                await addToOutbox(tx, late, new Date());
                slippedIn++;
              }
              return tx.defer(sql, params);
            };
            return work({ ...tx, defer });
          }) as never,
      );
      const deletion = await app.call("DELETE", `/api/v1/docs/${doc_id}?force=true`, admin);
      assert.deepEqual([deletion.status, slippedIn], [200, 1]);
      assert.deepEqual(await outboxOf(app, doc_id), []);
    },
  );

  testAlone("what is deleted meanwhile leaves no message and no row", {}, async (app, t) => {
    BROKER_DOWN(app, t);
    for (let round = 0; round < 10; round++) {
      const { doc_id } = await upload(app);
      const path = `/api/v1/docs/${doc_id}`;
      const reprocess = () => app.call("POST", `${path}/reprocess?force=true`, admin);
      const [before, deletion, after] = await Promise.all([
        reprocess(),
        app.call("DELETE", `${path}?force=true`, admin),
        reprocess(),
      ]);
      assert.equal(deletion.status, 200);
      for (const { status } of [before, after]) assert.ok([202, 404].includes(status), `${status}`);
      assert.deepEqual(await outboxOf(app, doc_id), []);
      assert.deepEqual(await stagesOf(app, doc_id), []);
    }
  });
}
