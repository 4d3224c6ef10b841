import assert from "node:assert/strict";
import { createServer, type Socket } from "node:net";
import { describe, it, type TestContext, test } from "node:test";
import fc from "fast-check";
import { BSON, MongoClient } from "mongodb";
import type { ExtractedText } from "../../src/content/content-store.ts";
import { MongoContentStore, mongoConnectionString } from "../../src/content/mongo.ts";
import { AppError } from "../../src/errors.ts";
import { createLogger } from "../../src/log.ts";
import { until } from "../support/wait.ts";
import { startMongoPeer } from "./mongo-peer.ts";

const SETTINGS = {
  host: "mongo.example.com",
  port: 10260,
  user: "app",
  password: "secret",
  tls: true,
  tlsInsecure: true,
};

const TEXT: ExtractedText = {
  doc_id: 7,
  filename: "a.pdf",
  file_type: "pdf",
  blob_path: "a/a.pdf",
  extracted_text: "text",
  ocr: {
    page_count: 1,
    word_count: 1,
    avg_confidence: 1,
    primary_language: "en",
    elapsed_seconds: 0.25,
  },
  classification: null,
  processed_at: new Date(0),
};

function storeAt(t: TestContext, url: string) {
  const lines: string[] = [];
  const log = createLogger({ level: "debug", readable: false, write: (line) => lines.push(line) });
  const store = new MongoContentStore({ url, database: "sdmsdb", log });
  t.after(() => store.close());
  return { store, lines };
}

async function withPeer(t: TestContext) {
  const peer = await startMongoPeer();
  t.after(() => peer.stop());
  return { peer, ...storeAt(t, `mongodb://127.0.0.1:${peer.port}/?retrywrites=false`) };
}

/** A listener that takes connections and never answers. */
async function silentEndpoint(t: TestContext): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => sockets.add(socket.on("error", () => {})));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as { port: number }).port;
}

async function closedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const isUnavailable = (error: unknown) =>
  error instanceof AppError &&
  error.code === "unavailable" &&
  error.headers["Retry-After"] !== undefined;

test("the connection string is the one of the specification", () => {
  assert.equal(
    mongoConnectionString(SETTINGS),
    "mongodb://app:secret@mongo.example.com:10260/?tls=true&tlsInsecure=true&authMechanism=SCRAM-SHA-256&retrywrites=false&maxIdleTimeMS=120000",
  );
  const plain = mongoConnectionString({ ...SETTINGS, tls: false, tlsInsecure: false, host: "::1" });
  assert.match(plain, /^mongodb:\/\/app:secret@\[::1\]:10260\/\?tls=false&tlsInsecure=false&/);
});

test("any character in user and password survives the connection string", async () => {
  const texts = fc.string({ unit: "binary", minLength: 1, maxLength: 20 });
  const reserved = fc.string({
    unit: fc.constantFrom(...":/?#[]@!$&'()*+,;=%\"<>\\^`{|} äع😀"),
    minLength: 1,
  });
  const anyText = fc.oneof(texts, reserved);
  await fc.assert(
    fc.asyncProperty(anyText, anyText, async (user, password) => {
      const client = new MongoClient(mongoConnectionString({ ...SETTINGS, user, password }));
      assert.equal(client.options.credentials?.username, user);
      assert.equal(client.options.credentials?.password, password);
      assert.deepEqual(client.options.hosts.map(String), ["mongo.example.com:10260"]);
      assert.equal(client.options.tls, true);
      assert.equal(client.options.retryWrites, false);
      assert.equal(client.options.maxIdleTimeMS, 120_000);
      await client.close();
    }),
  );
});

test("a malformed connection string is refused without being repeated", () => {
  const log = createLogger({ level: "error", readable: false, write: () => {} });
  for (const url of [
    "http://u:s3cret@h",
    "mongodb://s3cret:p%zz@h",
    "mongodb://u:s3cret@h:x/",
    "s3cret",
  ]) {
    assert.throws(
      () => new MongoContentStore({ url, database: "x", log }),
      (error) => error instanceof Error && !`${error.stack}${error.cause}`.includes("s3cret"),
    );
  }
});

test("one document per doc_id in ocr_results, with the fields of the contract and an _id of its own", async (t) => {
  const { peer, store } = await withPeer(t);
  const id = await store.put(TEXT);
  assert.deepEqual([...peer.collections.keys()], ["sdmsdb.ocr_results"]);
  const stored = (peer.collections.get("sdmsdb.ocr_results") ?? []).map((bytes) =>
    BSON.deserialize(bytes),
  );
  assert.deepEqual(
    stored.map(({ _id, ...fields }) => [String(_id), fields]),
    [[id, TEXT]],
  );
});

test("a plain index on doc_id is made once", async (t) => {
  const { peer, store } = await withPeer(t);
  await store.connect();
  await store.put(TEXT);
  await store.get(7);
  const made = () => peer.indexes.get("sdmsdb.ocr_results") ?? [];
  await until(() => made().length > 0, "the index");
  assert.deepEqual(
    made().map(({ key, unique }) => [key, unique]),
    [[{ doc_id: 1 }, undefined]],
  );
  assert.equal(peer.commands.filter((name) => name === "createIndexes").length, 1);
});

test("who does not connect makes no index", async (t) => {
  const peer = await startMongoPeer();
  t.after(() => peer.stop());
  const { store } = storeAt(t, `mongodb://127.0.0.1:${peer.port}/?retrywrites=false`);
  assert.equal(await store.get(7), undefined);
  await store.close();
  const reads = ["hello", "isMaster", "ismaster", "find", "endSessions"];
  assert.deepEqual(
    peer.commands.filter((name) => !reads.includes(name)),
    [],
  );
  assert.equal(peer.indexes.size, 0);
});

test("a worker can insert a second text where an older version made a unique index", async (t) => {
  const { peer, store } = await withPeer(t);
  const others = { name: "filename_1", key: { filename: 1 }, unique: true };
  const ours = { name: "doc_id_1", key: { doc_id: 1 }, unique: true };
  peer.indexes.set("sdmsdb.ocr_results", [ours, others]);
  const worker = new MongoClient(`mongodb://127.0.0.1:${peer.port}/?retrywrites=false`);
  t.after(() => worker.close());
  const texts = worker.db("sdmsdb").collection<ExtractedText>("ocr_results");
  await texts.insertOne({ ...TEXT, extracted_text: "first" });
  await assert.rejects(texts.insertOne({ ...TEXT, extracted_text: "second" }), { code: 11000 });

  await store.connect();
  const made = () => peer.commands.filter((name) => name === "createIndexes").length === 2;
  await until(made, "the index");
  assert.deepEqual(
    peer.indexes.get("sdmsdb.ocr_results")?.map(({ name, unique }) => [name, unique]),
    [
      ["filename_1", true],
      ["doc_id_1", undefined],
    ],
  );
  await texts.insertOne({ ...TEXT, extracted_text: "second" });
  assert.equal((await store.get(7))?.extracted_text, "second");
  await store.delete(7);
  assert.deepEqual(peer.collections.get("sdmsdb.ocr_results"), []);
});

test("an index that the server refuses keeps nobody from working", async (t) => {
  const { peer, store, lines } = await withPeer(t);
  const reply = { ok: 0, code: 13, errmsg: "not authorized" };
  peer.failures.push({ command: "createIndexes", reply });
  await store.connect();
  await store.put(TEXT);
  assert.deepEqual(await store.get(7), TEXT);
  await until(() => lines.some((line) => line.includes("index")), "a line in the log");
  assert.equal(peer.commands.filter((name) => name === "createIndexes").length, 1);
});

test("what a worker wrote is read, with more in it than ours, a failed classification as none, its newest text where it wrote two", async (t) => {
  const { peer, store } = await withPeer(t);
  const older = {
    ...TEXT,
    _id: new BSON.ObjectId("0".repeat(24)),
    doc_id: BSON.Long.fromNumber(7),
    extracted_text: "older",
  };
  const ocr = { ...TEXT.ocr, cost_usd: 0.01, chunks_used: 2 };
  const classification = {
    category: "invoice",
    confidence: 0.5,
    reasoning: "…",
    tokens_used: 9,
    cost_usd: 1,
    error: null,
  };
  const newer = {
    ...TEXT,
    _id: new BSON.ObjectId("1".repeat(24)),
    ocr,
    classification,
    schema: "2",
  };
  peer.collections.set("sdmsdb.ocr_results", [BSON.serialize(older), BSON.serialize(newer)]);
  assert.deepEqual(await store.get(7), { ...TEXT, ocr, classification, schema: "2" });
  assert.equal(await store.put({ ...TEXT, extracted_text: "newest" }), String(newer._id));
  assert.equal((await store.get(7))?.extracted_text, "newest");
  const failed = { ...TEXT, classification: { error: "no model", category: null } };
  peer.collections.set("sdmsdb.ocr_results", [BSON.serialize(failed)]);
  assert.deepEqual(await store.get(7), TEXT);
  await store.delete(7);
  assert.equal(await store.get(7), undefined);
});

test("a connection that breaks is replaced: a read is repeated, a write told as unavailable", async (t) => {
  const { peer, store } = await withPeer(t);
  peer.failures.push({ command: "findAndModify", reply: "hang up" });
  await assert.rejects(store.put(TEXT), isUnavailable);
  await store.put(TEXT);
  peer.failures.push({ command: "find", reply: "hang up" });
  assert.deepEqual(await store.get(7), TEXT);
});

test("a server that refuses is unavailable, whatever its code", async (t) => {
  const { peer, store } = await withPeer(t);
  for (const code of [16500, 18, 13, 11600, 50, 121]) {
    peer.failures.push({ command: "findAndModify", reply: { ok: 0, code, errmsg: "no" } });
    await assert.rejects(store.put(TEXT), isUnavailable, String(code));
  }
});

test("close ends what is waiting for an answer", async (t) => {
  const { peer, store } = await withPeer(t);
  await store.put(TEXT);
  for (const command of ["find", "endSessions"]) peer.failures.push({ command, reply: "silence" });
  const waiting = assert.rejects(store.get(7), isUnavailable);
  await until(() => peer.commands.includes("find"), "the command");
  await store.close();
  await waiting;
  await assert.rejects(store.get(7), isUnavailable);
});

// They wait for the driver's real time-outs: together.
describe("a server that is down or silent", { concurrency: true }, () => {
  it("a server lost while running is unavailable, and all heals when it is back", async (t) => {
    const { peer, store } = await withPeer(t);
    await store.put(TEXT);
    await peer.stop();
    await assert.rejects(store.get(7), isUnavailable);
    await assert.rejects(store.ping(), isUnavailable);
    await peer.start();
    assert.deepEqual(await store.get(7), TEXT);
    await store.ping();
  });

  it("a server that is down at start: connect returns, and all heals when it comes", async (t) => {
    const { peer, store, lines } = await withPeer(t);
    await peer.stop();
    await store.connect();
    assert.equal(lines.filter((line) => line.includes("not reachable")).length, 1);
    await peer.start();
    await store.ping();
    await store.put(TEXT);
    assert.deepEqual(await store.get(7), TEXT);
  });

  it("a server that takes connections and never answers is unavailable within bounds, and so is closing", async (t) => {
    const port = await silentEndpoint(t);
    const url = mongoConnectionString({
      ...SETTINGS,
      host: "127.0.0.1",
      port,
      password: "s3cret",
      tls: false,
    });
    const { store, lines } = storeAt(t, url);
    await store.connect();
    const [rejection] = await Promise.allSettled([store.ping()]);
    assert.ok(rejection?.status === "rejected" && isUnavailable(rejection.reason));
    await store.close();
    await assert.rejects(store.get(7), isUnavailable);
    assert.ok(!lines.join().includes("s3cret"));
  });

  it("an answer that never comes is given up", async (t) => {
    const { peer, store } = await withPeer(t);
    await store.connect();
    peer.failures.push({ command: "ping", reply: "silence" });
    await assert.rejects(store.ping(), isUnavailable);
    await store.ping();
  });

  it("a port where nobody listens is unavailable", async (t) => {
    const { store } = storeAt(t, `mongodb://127.0.0.1:${await closedPort()}/`);
    await store.connect();
    await assert.rejects(store.put(TEXT), isUnavailable);
  });

  it("a server too old for the driver is unavailable and does not end the process", async (t) => {
    const { peer, store } = await withPeer(t);
    peer.hello = { maxWireVersion: 2 };
    await store.connect();
    await assert.rejects(store.ping(), isUnavailable);
  });
});
