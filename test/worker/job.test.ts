import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { text } from "node:stream/consumers";
import { unavailable } from "../../src/errors.ts";
import type { Extract } from "../../src/worker/extraction.ts";
import { createJob, type JobParts } from "../../src/worker/job.ts";
import { Unreadable } from "../../src/worker/limits.ts";
import { silent } from "../contracts/broker.ts";
import { apiSuite, type TestApp } from "../support/app.ts";
import { until } from "../support/wait.ts";

const OCR = {
  page_count: 2,
  word_count: 3,
  avg_confidence: 0.935,
  primary_language: "ar",
  elapsed_seconds: 1.5,
};

/** Stands for the engines: the text is what the bytes are. */
const read: Extract = async (source) => ({
  extracted_text: await text(await source.open()),
  ocr: OCR,
});

/** A document that was just uploaded, and how its message is handled. */
async function setUp(app: TestApp, filename = `${randomUUID()}.txt`) {
  const multipart = [{ name: "file", filename, type: "text/plain", data: `text of ${filename}` }];
  const { body } = await app.call("POST", "/api/v1/docs/upload", { as: "user", multipart });
  const docId: number = body.doc_id;
  const { database, content } = app.app;
  const message = { doc_id: docId, file_path: body.path, filename, user_id: 1 };
  const jobWith = (extract: Extract, others: Partial<JobParts> = {}) => {
    return createJob({ ...app.app, extract, log: silent, ...others });
  };
  const deliver = (
    extract: Extract = read,
    {
      signal = new AbortController().signal,
      ...others
    }: Partial<JobParts> & {
      signal?: AbortSignal;
    } = {},
  ) =>
    jobWith(extract, others).handle(
      { id: "m", body: JSON.stringify(message), deliveries: 1 },
      signal,
    );
  return {
    filename,
    docId,
    message,
    jobWith,
    deliver,
    run: (sql: string) => database.run(sql.replaceAll("@docId", String(docId))),
    status: async () =>
      (await app.call("GET", `/api/v1/docs/${docId}/status`, { as: "user" })).body,
    results: () => database.all("SELECT doc_id FROM Ocr_Results WHERE doc_id = @docId", { docId }),
    text: () => content.get(docId),
  };
}

apiSuite("a delivery of the OCR queue", ({ test }) => {
  test("becomes text, a result and a finished stage", async (app) => {
    const { docId, filename, deliver, status, text: stored } = await setUp(app);
    const seen: unknown[] = [];
    const started = Date.now();
    await deliver(async (source, onPage, signal) => {
      seen.push(source.size);
      onPage(0, 2);
      onPage(1, 2);
      const row = await until(async () => {
        const rows = await app.app.database.all<{ done: number; status: string }>(
          `SELECT pages_done AS done, status FROM Processing_Status
           WHERE doc_id = @docId AND pages_total = 2`,
          { docId },
        );
        return rows[0]?.done === 1 && rows[0];
      }, "the pages that are done");
      seen.push(row.status);
      return read(source, onPage, signal);
    });
    const content = `text of ${filename}`;
    assert.deepEqual(seen, [content.length, "Processing"]);
    const { start_time, end_time, ...rest } = await status();
    assert.equal(rest.status, "Finished");
    assert.equal(rest.error_message, null);
    assert.ok(Date.parse(end_time) >= Date.parse(start_time), `${start_time} to ${end_time}`);
    assert.ok(Math.abs(Date.parse(start_time) - started) < 120_000);
    const extracted = await stored();
    const document = await app.app.database.first<Record<string, unknown>>(
      "SELECT mongo_doc_id, blob_key, updated_at, uploaded_at FROM Documents WHERE doc_id = @docId",
      { docId },
    );
    assert.ok(extracted && document);
    const { processed_at, ...written } = extracted;
    assert.deepEqual(written, {
      doc_id: docId,
      filename,
      file_type: "txt",
      blob_path: document.blob_key,
      extracted_text: content,
      ocr: OCR,
      classification: null,
    });
    assert.ok(processed_at.getTime() >= started);
    // Written again it keeps its id: so it is seen here.
    assert.equal(document.mongo_doc_id, await app.app.content.put(extracted));
    assert.ok(Number(document.updated_at) > Number(document.uploaded_at));
    const result = await app.app.database.first<Record<string, unknown>>(
      `SELECT page_count, word_count, avg_confidence, primary_language, category, cost_usd_ocr
       FROM Ocr_Results WHERE doc_id = @docId`,
      { docId },
    );
    assert.deepEqual(result, {
      page_count: 2,
      word_count: 3,
      avg_confidence: 0.935,
      primary_language: "ar",
      category: null,
      cost_usd_ocr: 0,
    });
  });

  test("twice, one after the other or at once, gives one result", async (app) => {
    for (const isAtOnce of [false, true]) {
      const { deliver, results, status } = await setUp(app);
      let reads = 0;
      const { promise: bothBegan, resolve: release } = Promise.withResolvers<void>();
      const extract: Extract = async (source, onPage, signal) => {
        reads += 1;
        if (reads === 2 || !isAtOnce) release();
        await bothBegan;
        return read(source, onPage, signal);
      };
      const first = deliver(extract);
      if (!isAtOnce) await first;
      await Promise.all([first, deliver(extract)]);
      assert.equal(reads, isAtOnce ? 2 : 1);
      assert.equal((await results()).length, 1);
      assert.equal((await status()).status, "Finished");
    }
  });

  test("of a document that is deleted, before or meanwhile, leaves nothing", async (app) => {
    for (const isMeanwhile of [false, true]) {
      const { docId, deliver, results, text: stored } = await setUp(app);
      let reads = 0;
      const remove = async () => {
        const path = `/api/v1/docs/${docId}?force=true`;
        assert.equal((await app.call("DELETE", path, { as: "admin" })).status, 200);
      };
      if (!isMeanwhile) await remove();
      await deliver(async (source, onPage, signal) => {
        reads += 1;
        const extraction = await read(source, onPage, signal);
        await remove();
        return extraction;
      });
      assert.equal(reads, isMeanwhile ? 1 : 0);
      assert.equal(await stored(), undefined);
      assert.deepEqual(await results(), []);
    }
  });

  test("of a document that is queued anew meanwhile leaves it queued", async (app) => {
    const { deliver, run, results, status } = await setUp(app);
    await deliver(async (...given) => {
      await run("UPDATE Processing_Status SET status = 'Queued' WHERE doc_id = @docId");
      return read(...given);
    });
    assert.equal((await status()).status, "Queued");
    assert.deepEqual(await results(), []);
    await deliver();
    assert.equal((await status()).status, "Finished");
    assert.equal((await results()).length, 1);
  });

  test("of a document that is deleted or queued anew is not read to its end", async (app) => {
    for (const sql of ["DELETE FROM", "UPDATE"]) {
      const { deliver, run, results, text: stored } = await setUp(app);
      let isEnded = false;
      await deliver(async (_source, onPage, signal) => {
        const set = sql === "UPDATE" ? " SET status = 'Queued'" : "";
        await run(`${sql} Processing_Status${set} WHERE doc_id = @docId`);
        onPage(1, 300);
        isEnded = await until(() => signal.aborted, "the reading to be ended");
        throw signal.reason;
      });
      assert.ok(isEnded);
      assert.deepEqual(await results(), []);
      assert.equal(await stored(), undefined);
    }
  });

  test("that can't be read fails with the reason, once", async (app) => {
    const { deliver, results, status } = await setUp(app);
    await deliver(() => Promise.reject(new Unreadable("It has a password. أرسل نسخة بلا كلمة.")));
    const failed = await status();
    assert.equal(failed.status, "Failed");
    assert.equal(failed.error_message, "It has a password. أرسل نسخة بلا كلمة.");
    assert.ok(failed.end_time);
    await deliver(() => Promise.reject(new Error("read again")));
    assert.deepEqual(await status(), failed);
    assert.deepEqual(await results(), []);
  });

  test("waits for a part that is away", async (app) => {
    const { deliver, results, status } = await setUp(app);
    const { content } = app.app;
    let refusals = 0;
    let reads = 0;
    const put: typeof content.put = (...given) => {
      refusals += 1;
      if (refusals < 3) return Promise.reject(unavailable("The content store"));
      return content.put(...given);
    };
    const away = Object.assign(Object.create(content), { put });
    const extract: Extract = (...given) => {
      reads += 1;
      return read(...given);
    };
    await deliver(extract, { content: away });
    assert.deepEqual([refusals, reads], [3, 1]);
    assert.equal((await status()).status, "Finished");
    assert.equal((await results()).length, 1);
  });

  test("that is told to end leaves the document for the next", async (app) => {
    const { deliver, status } = await setUp(app);
    const stopping = new AbortController();
    const reason = new Error("stopping");
    const extract: Extract = async (_source, _onPage, signal) => {
      setTimeout(() => stopping.abort(reason));
      await new Promise((told) => signal.addEventListener("abort", told));
      throw signal.reason;
    };
    await assert.rejects(deliver(extract, { signal: stopping.signal }), reason);
    assert.equal((await status()).status, "Processing");
    await deliver();
    assert.equal((await status()).status, "Finished");
  });

  test("ends also while it waits for a part", async (app) => {
    const { deliver } = await setUp(app);
    const stopping = new AbortController();
    const put = () => {
      setTimeout(() => stopping.abort(new Error("stopping")), 20);
      return Promise.reject(unavailable("The content store"));
    };
    const content = Object.assign(Object.create(app.app.content), { put });
    await assert.rejects(deliver(read, { content, signal: stopping.signal }), /stopping/);
  });

  test("that fails for no known reason throws, until it is given up", async (app) => {
    const { deliver, jobWith, message, status } = await setUp(app);
    await assert.rejects(
      deliver(() => Promise.reject(new Error("the engine died"))),
      /the engine died/,
    );
    assert.equal((await status()).status, "Processing");
    const { giveUp } = jobWith(read);
    const delivery = { id: "m", body: JSON.stringify(message), deliveries: 5 };
    await giveUp(delivery);
    const { status: state, error_message } = await status();
    assert.equal(state, "Failed");
    assert.match(error_message, /could not be processed in several attempts\. Reprocess it/);
  });

  test("that is no message throws each time, and is given up in peace", async (app) => {
    const { jobWith, message } = await setUp(app);
    const { handle, giveUp } = jobWith(read);
    const bodies = [
      "",
      "{",
      "[]",
      '{"doc_id":1}',
      JSON.stringify({ ...message, doc_id: "1" }),
      JSON.stringify({ ...message, doc_id: 1.5 }),
      JSON.stringify({ ...message, file_path: null }),
    ];
    for (const body of bodies) {
      const delivery = { id: "m", body, deliveries: 1 };
      await assert.rejects(handle(delivery, new AbortController().signal), body);
      await giveUp(delivery);
    }
  });

  test("finds its stage among several rows, and makes one where there is none", async (app) => {
    const { docId, deliver, run, results } = await setUp(app);
    const rows = () =>
      app.app.database.all<{ status: string }>(
        "SELECT status FROM Processing_Status WHERE doc_id = @docId ORDER BY status_id",
        { docId },
      );
    await run(
      `INSERT INTO Processing_Status (doc_id, stage_name, status, start_time)
       SELECT doc_id, stage_name, status, start_time FROM Processing_Status WHERE doc_id = @docId`,
    );
    await run(
      `UPDATE Processing_Status SET status = 'Failed' WHERE status_id =
        (SELECT MIN(x.status_id) FROM Processing_Status x WHERE x.doc_id = @docId)`,
    );
    await deliver();
    assert.deepEqual(await rows(), [{ status: "Failed" }, { status: "Finished" }]);
    await run("DELETE FROM Processing_Status WHERE doc_id = @docId");
    await deliver();
    assert.deepEqual(await rows(), [{ status: "Finished" }]);
    assert.equal((await results()).length, 2);
  });

  test("finds a blob of the reference system by the message; a missing one fails", async (app) => {
    const { deliver, run, status, message, text: stored } = await setUp(app);
    await run("UPDATE Documents SET blob_key = NULL WHERE doc_id = @docId");
    await deliver();
    assert.equal((await status()).status, "Finished");
    assert.equal((await stored())?.blob_path, message.file_path);
    await run("UPDATE Processing_Status SET status = 'Queued' WHERE doc_id = @docId");
    for (const path of ["no/such.txt", "https://elsewhere.example/container/key", "../key"]) {
      message.file_path = path;
      await run("UPDATE Processing_Status SET status = 'Queued' WHERE doc_id = @docId");
      await deliver();
      const { status: state, error_message } = await status();
      assert.equal(state, "Failed", path);
      assert.match(error_message, /missing from the storage/);
    }
  });
});
