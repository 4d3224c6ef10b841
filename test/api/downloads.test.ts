import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { unavailable } from "../../src/errors.ts";
import { apiSuite, type Suite, type TestApp } from "../support/app.ts";
import { play } from "./scenarios.ts";

const user = { as: "user" } as const;
const BYTES = Buffer.from(Array.from({ length: 1000 }, (_, i) => i % 251));
const SHA256 = createHash("sha256").update(BYTES).digest("hex");
const ETAG = `"${SHA256}"`;

let count = 0;
async function stored(
  app: TestApp,
  filename = `stored-${++count}.bin`,
  type = "application/x-thing",
): Promise<string> {
  const multipart = [{ name: "file", filename, data: BYTES, type }];
  const { body } = await play(app, {
    title: filename,
    at: "POST /api/v1/docs/upload",
    ...user,
    multipart,
    status: 201,
  });
  return `/api/v1/docs/${body.doc_id}/download`;
}

const get = (app: TestApp, url: string, headers: Record<string, string> = {}, method = "GET") =>
  app.call(method, url, { ...user, headers });

apiSuite("downloads", (suite) => {
  whole(suite);
  ranges(suite);
  conditions(suite);
  adopted(suite);
  moved(suite);
  faults(suite);
});

function whole({ test }: Suite): void {
  test("the bytes come back with all that a client needs to know of them", async (app) => {
    const url = await stored(app, 'ملف "x" 100%.bin');
    const answer = await play(app, {
      title: "downloads",
      at: `GET ${url}`,
      ...user,
      status: 200,
      replies: {
        "content-type": "application/x-thing",
        "content-length": "1000",
        "accept-ranges": "bytes",
        "content-security-policy": "sandbox",
        etag: ETAG,
        "content-range": null,
      },
    });
    assert.deepEqual(answer.bytes, BYTES);
    const disposition = answer.headers.get("content-disposition") ?? "";
    const [, ascii, encoded = ""] =
      /^attachment; filename="([^"]*)"; filename\*=UTF-8''(\S+)$/.exec(disposition) ?? [];
    assert.match(ascii ?? "", /^[\x20-\x7e]+$/);
    assert.equal(decodeURIComponent(encoded), 'ملف "x" 100%.bin');
  });

  test("HEAD says the same without the bytes, and is no download in the audit trail", async (app) => {
    const url = await stored(app);
    const [head, full] = [await get(app, url, {}, "HEAD"), await get(app, url)];
    assert.deepEqual([head.status, head.bytes.length], [200, 0]);
    for (const name of [
      "content-type",
      "content-length",
      "content-disposition",
      "content-security-policy",
      "etag",
      "accept-ranges",
    ]) {
      assert.equal(head.headers.get(name), full.headers.get(name), name);
    }
    // Range has a meaning for GET only.
    assert.equal((await get(app, url, { Range: "bytes=0-9" }, "HEAD")).status, 200);
    const docId = Number(url.split("/")[4]);
    const { id } = await app.as("user");
    const logs = await app.app.database.all(
      "SELECT user_id FROM Logs WHERE action_type = 'document_download' AND entity_id = @docId",
      { docId },
    );
    assert.deepEqual(logs, [{ user_id: id }]);
  });

  test("a type that a browser would run is still an attachment that is not sniffed", async (app) => {
    const answer = await get(app, await stored(app, "page.html", "text/html"));
    assert.match(answer.headers.get("content-disposition") ?? "", /^attachment;/);
    assert.equal(answer.headers.get("x-content-type-options"), "nosniff");
  });

  test("many downloads of one document at once are all whole", async (app) => {
    const url = await stored(app);
    const answers = await Promise.all(Array.from({ length: 20 }, () => get(app, url)));
    for (const { bytes } of answers) assert.deepEqual(bytes, BYTES);
  });
}

function ranges({ test }: Suite): void {
  for (const [range, first, last] of [
    ["bytes=0-0", 0, 0],
    ["bytes=5-14", 5, 14],
    ["bytes=990-", 990, 999],
    ["bytes=-10", 990, 999],
    ["bytes=-5000", 0, 999],
    ["bytes=999-999", 999, 999],
    ["bytes=500-99999999999999999999", 500, 999],
    ["BYTES=1-2", 1, 2],
  ] as const) {
    test(`Range: ${range} brings ${first} to ${last}`, async (app) => {
      const answer = await get(app, await stored(app), { Range: range });
      assert.equal(answer.status, 206);
      assert.deepEqual(answer.bytes, BYTES.subarray(first, last + 1));
      assert.equal(answer.headers.get("content-range"), `bytes ${first}-${last}/1000`);
      assert.equal(answer.headers.get("content-length"), String(last - first + 1));
      assert.equal(answer.headers.get("etag"), ETAG);
    });
  }

  for (const range of [
    "bytes=1000-",
    "bytes=1000-1001",
    "bytes=-0",
    "bytes=99999999999999999999-",
  ]) {
    test(`Range: ${range} can't be satisfied`, async (app) => {
      const answer = await get(app, await stored(app), { Range: range });
      assert.equal(answer.status, 416);
      assert.equal(answer.headers.get("content-range"), "bytes */1000");
    });
  }

  for (const range of [
    "bytes=5-4",
    "bytes=a-b",
    "bytes=",
    "bytes=-",
    "lines=1-2",
    "bytes 1-2",
    "bytes=0-1,5-6",
    "bytes=1-2-3",
    "-5",
  ]) {
    test(`Range: ${range} is ignored, the whole comes`, async (app) => {
      const answer = await get(app, await stored(app), { Range: range });
      assert.equal(answer.status, 200);
      assert.deepEqual(answer.bytes, BYTES);
      assert.equal(answer.headers.get("content-range"), null);
    });
  }
}

function conditions({ test }: Suite): void {
  test("a client that has the bytes is told so, without them", async (app) => {
    const url = await stored(app);
    for (const tag of [ETAG, `W/${ETAG}`, "*", `"other", ${ETAG}`, `"a,b",${ETAG}`]) {
      for (const method of ["GET", "HEAD"]) {
        const answer = await get(app, url, { "If-None-Match": tag, Range: "bytes=0-1" }, method);
        assert.deepEqual(
          [answer.status, answer.bytes.length, answer.headers.get("etag")],
          [304, 0, ETAG],
          tag,
        );
      }
    }
    for (const tag of ['"other"', SHA256, '""']) {
      assert.equal((await get(app, url, { "If-None-Match": tag })).status, 200, tag);
    }
  });

  test("If-Range sends the rest of what the client knows, else the whole", async (app) => {
    const url = await stored(app);
    const Range = "bytes=990-";
    assert.equal((await get(app, url, { Range, "If-Range": ETAG })).status, 206);
    for (const other of ['"other"', `W/${ETAG}`, "Thu, 26 Feb 2026 14:30:00 GMT"]) {
      const answer = await get(app, url, { Range, "If-Range": other });
      assert.deepEqual([answer.status, answer.bytes.length], [200, 1000], other);
    }
  });
}

function adopted({ test }: Suite): void {
  for (const [path, filename, key] of [
    ["/", "تقرير قديم.pdf", "تقرير قديم.pdf"],
    ["Old Archive/2019", "scan [1].pdf", "Old Archive/2019/scan [1].pdf"],
  ] as const) {
    test(`a document of the reference system is found at ${key}`, async (app) => {
      if (path !== "/")
        await app.call("POST", "/api/v1/paths", { as: "admin", json: { full_path: path } });
      const { id } = await app.as("user");
      const row = await app.app.database.first<{ path_id: number }>(
        "SELECT path_id FROM Virtual_Paths WHERE full_path = @path",
        { path },
      );
      await app.app.storage.upload(Readable.from([BYTES]), key, { contentType: "application/pdf" });
      const docId = await app.app.database.insert(
        "Documents",
        {
          filename,
          path_id: row?.path_id ?? 0,
          uploaded_by_user_id: id,
          mongo_doc_id: "pending",
          uploaded_at: new Date(),
        },
        "doc_id",
      );
      const answer = await get(app, `/api/v1/docs/${docId}/download`);
      assert.equal(answer.status, 200);
      assert.deepEqual(answer.bytes, BYTES);
      assert.match(answer.headers.get("etag") ?? "", /^"[^"]+"$/);
      assert.match(answer.headers.get("content-type") ?? "", /^application\/(pdf|octet-stream)$/);
      if (path !== "/") {
        const parent = { full_path: "Old Archive" };
        const { body: folder } = await app.call("POST", "/api/v1/paths", {
          as: "admin",
          json: parent,
        });
        const rename = { as: "admin", json: { full_path: "Archive 2026" } } as const;
        assert.equal((await app.call("PATCH", `/api/v1/paths/${folder.id}`, rename)).status, 200);
        const renamed = await get(app, `/api/v1/docs/${docId}/download`);
        assert.deepEqual([renamed.status, renamed.bytes], [200, BYTES]);
      }
      const part = await get(app, `/api/v1/docs/${docId}/download`, { Range: "bytes=10-19" });
      assert.deepEqual([part.status, part.bytes], [206, BYTES.subarray(10, 20)]);
      const { body } = await app.call("GET", `/api/v1/docs/${docId}`, user);
      assert.deepEqual(
        [body.status, body.size, body.sha256, body.content_type],
        ["Queued", null, null, null],
      );
      assert.equal(
        (await app.call("DELETE", `/api/v1/docs/${docId}?force=true`, { as: "admin" })).status,
        200,
      );
      assert.equal(await app.app.storage.exists(key), false);
    });
  }
}

/** Moves a blob as the cloud worker does, over what is there, and writes where it went. */
async function move(app: TestApp, url: string, to: string, bytes = BYTES): Promise<string> {
  const { storage, content } = app.app;
  const docId = Number(url.split("/")[4]);
  const from = await blobKey(app, url);
  await storage.delete(to);
  await storage.upload(Readable.from([bytes]), to);
  await storage.delete(from);
  await content.put(textOf(docId, to));
  return from;
}

const textOf = (doc_id: number, blob_path: string) => ({
  doc_id,
  filename: "moved",
  file_type: "bin",
  blob_path,
  extracted_text: "text",
  ocr: {
    page_count: 1,
    word_count: 1,
    avg_confidence: 0.5,
    primary_language: "en",
    elapsed_seconds: 1,
  },
  classification: { category: "Letters", confidence: 0.5 },
  processed_at: new Date(),
});

const movesOf = (app: TestApp, url: string) =>
  app.app.database.all<{ user_id: number | null; details: string }>(
    "SELECT user_id, details FROM Logs WHERE action_type = 'document_move' AND entity_id = @docId",
    { docId: Number(url.split("/")[4]) },
  );

function moved({ test }: Suite): void {
  test("a blob that a worker moved is followed once, and the move is in the audit trail", async (app) => {
    const url = await stored(app, "رسالة #1.bin");
    const from = await move(app, url, "letters/رسالة #1.bin");
    for (const range of [undefined, "bytes=10-19"]) {
      const answer = await get(app, url, range ? { Range: range } : {});
      assert.equal(answer.status, range ? 206 : 200);
      assert.deepEqual(answer.bytes, range ? BYTES.subarray(10, 20) : BYTES);
      assert.equal(answer.headers.get("etag"), ETAG);
      assert.equal(answer.headers.get("content-type"), "application/x-thing");
    }
    assert.equal(await blobKey(app, url), "letters/رسالة #1.bin");
    const [row, ...more] = await movesOf(app, url);
    assert.deepEqual([row?.user_id, more], [null, []]);
    const { from: left, to } = JSON.parse(row?.details ?? "{}");
    assert.deepEqual([left, to], [from, "letters/رسالة #1.bin"]);
  });

  for (const [what, others] of [
    ["size", BYTES.subarray(1)],
    ["hash", Buffer.alloc(BYTES.length, "x")],
  ] as const) {
    test(`a moved blob of another ${what} is somebody else's: 404 and a log line`, async (app) => {
      const url = await stored(app);
      const from = await move(app, url, `letters/other-${what}.bin`, others);
      app.lines.length = 0;
      assert.equal((await get(app, url)).status, 404);
      assert.ok(app.lines.some(({ message }) => /blob of a document is missing/.test(message)));
      assert.deepEqual(await movesOf(app, url), []);
      assert.equal(await blobKey(app, url), from);
    });
  }

  test("a blob that was followed is given no more once another overwrote it", async (app) => {
    const [mine, theirs] = [await stored(app), await stored(app)];
    await move(app, mine, "letters/twin.bin");
    assert.equal((await get(app, mine)).status, 200);
    await move(app, theirs, "letters/twin.bin", Buffer.alloc(BYTES.length, "y"));
    assert.equal((await get(app, mine)).status, 404);
    await move(app, theirs, "letters/twin.bin");
    assert.equal((await get(app, mine)).status, 200);
  });

  test("without a hash nothing proves whose a moved blob is: 404", async (app) => {
    const url = await stored(app);
    await move(app, url, "letters/unproven.bin");
    const docId = Number(url.split("/")[4]);
    await app.app.database.run("UPDATE Documents SET sha256 = NULL WHERE doc_id = @docId", {
      docId,
    });
    assert.equal((await get(app, url)).status, 404);
  });

  for (const path of ["", "letters/nowhere.bin", "../up.bin", "https://elsewhere.example/c/x"]) {
    test(`a text that names no blob of ours is a 404: ${path}`, async (app) => {
      const url = await stored(app);
      await app.app.storage.delete(await blobKey(app, url));
      await app.app.content.put(textOf(Number(url.split("/")[4]), path));
      assert.equal((await get(app, url)).status, 404);
    });
  }

  test("while the texts can't be asked where a blob went, it is a 503", async (app, t) => {
    const url = await stored(app);
    await move(app, url, "letters/later.bin");
    const down = t.mock.method(app.app.content, "get", () =>
      Promise.reject(unavailable("The content store")),
    );
    assert.equal((await get(app, url)).status, 503);
    down.mock.restore();
    assert.equal((await get(app, url)).status, 200);
  });
}

function faults({ test }: Suite): void {
  test("bytes that are gone are a 404, a storage that is down a 503, and neither tells why", async (app, t) => {
    const url = await stored(app);
    const down = t.mock.method(app.app.storage, "properties", () =>
      Promise.reject(new Error("10.1.2.3 refused")),
    );
    const answer = await get(app, url);
    assert.equal(answer.status, 503);
    assert.doesNotMatch(answer.bytes.toString(), /10\.1/);
    down.mock.restore();
    await app.app.storage.deleteDir((await blobKey(app, url)).split("/")[0] ?? "");
    assert.equal((await get(app, url)).status, 404);
  });

  test("a download that a deletion overtakes is a 404; only bytes that go alone are a fault", async (app, t) => {
    const { storage } = app.app;
    const open = storage.downloadStream.bind(storage);
    const [overtaken, lost] = [await stored(app), await stored(app)];
    const document = overtaken.replace("/download", "?force=true");
    for (const [url, remove] of [
      [overtaken, () => app.call("DELETE", document, { as: "admin" })],
      [lost, async () => storage.delete(await blobKey(app, lost))],
    ] as const) {
      const known = app.lines.length;
      t.mock.method(
        storage,
        "downloadStream",
        async (...given: Parameters<typeof open>) => {
          await remove();
          return open(...given);
        },
        { times: 1 },
      );
      assert.equal((await get(app, url)).status, 404);
      const faults = app.lines.slice(known).filter(({ level }) => level === "error");
      assert.deepEqual(
        faults.map(({ message }) => message),
        url === lost ? ["the blob of a document is missing"] : [],
      );
    }
  });

  test("a storage that fails before the first byte is a 503, also for a range", async (app, t) => {
    const url = await stored(app);
    t.mock.method(app.app.storage, "downloadStream", () => Promise.reject(new Error("gone away")));
    for (const headers of [{}, { Range: "bytes=1-2" }] as Record<string, string>[]) {
      assert.equal((await get(app, url, headers)).status, 503);
    }
  });

  test("a storage that fails midway breaks the connection: no short file looks whole", async (app, t) => {
    const url = await stored(app);
    t.mock.method(app.app.storage, "downloadStream", async () =>
      Readable.from(
        (async function* () {
          yield BYTES.subarray(0, 100);
          await new Promise(setImmediate);
          throw new Error("gone away");
        })(),
      ),
    );
    await assert.rejects(get(app, url), { code: "ECONNRESET" });
  });
}

async function blobKey(app: TestApp, url: string): Promise<string> {
  const docId = Number(url.split("/")[4]);
  const row = await app.app.database.first<{ blobKey: string }>(
    "SELECT blob_key AS blobKey FROM Documents WHERE doc_id = @docId",
    { docId },
  );
  return row?.blobKey ?? "";
}
