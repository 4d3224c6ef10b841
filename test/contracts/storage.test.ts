import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { after, before, describe, it } from "node:test";
import { BlobServiceClient } from "@azure/storage-blob";
import fc from "fast-check";
import { AzureBlobStorage } from "../../src/storage/azure-blob.ts";
import { InvalidBlobKey } from "../../src/storage/keys.ts";
import { LocalFolderStorage } from "../../src/storage/local-folder.ts";
import { BlobExists, BlobNotFound, type Storage } from "../../src/storage/storage.ts";
import { startAzurite } from "../support/azurite.ts";
import { memoryInUse } from "../support/memory.ts";

/** One implementation of the port under test. */
interface Subject {
  storage: Storage;
  keepsContentType: boolean;
  /** How many keys the property test tries. */
  runs: number;
  /** The folder of `many/` that is deleted: Azurite needs longer for each of 12,000 deletions than for all the rest. */
  manyToDelete: string;
  /** Puts empty blobs there by another way than `upload`, faster. */
  seed(keys: string[]): Promise<void>;
  close(): Promise<void>;
}

const MIB = 1024 * 1024;

async function openFolder(): Promise<Subject> {
  const folder = await mkdtemp(join(tmpdir(), "storage-"));
  const storage = await LocalFolderStorage.open({ folder });
  return {
    storage,
    keepsContentType: false,
    runs: 150,
    manyToDelete: "many",
    async seed(keys) {
      for (const key of keys) {
        await mkdir(dirname(join(folder, key)), { recursive: true });
        await writeFile(join(folder, key), "");
      }
    },
    async close() {
      await storage.close();
      await rm(folder, { recursive: true });
    },
  };
}

async function openAzurite(): Promise<Subject> {
  const azurite = await startAzurite();
  const { connectionString } = azurite;
  const storage = new AzureBlobStorage({
    connectionString,
    container: "contract",
  });
  return {
    storage,
    keepsContentType: true,
    runs: 30,
    manyToDelete: "many/007",
    async seed(keys) {
      await storage.ping();
      const container =
        BlobServiceClient.fromConnectionString(connectionString).getContainerClient("contract");
      const queue = keys.values();
      const worker = async () => {
        for (const key of queue) await container.getBlockBlobClient(key).upload("", 0);
      };
      await Promise.all(Array.from({ length: 16 }, worker));
    },
    async close() {
      await storage.close();
      await azurite.close();
    },
  };
}

/** A stream of `chunks` fresh buffers, so that whoever keeps them is seen to keep memory. */
function fresh(chunks: number, size: number, each: () => void = () => {}): Readable {
  return Readable.from(
    (function* () {
      for (let index = 0; index < chunks; index += 1) {
        each();
        yield Buffer.alloc(size, index % 251);
      }
    })(),
    { objectMode: false },
  );
}

const text = async (storage: Storage, key: string) => (await storage.download(key)).toString();

function contract(name: string, open: () => Promise<Subject>) {
  describe(`storage contract: ${name}`, () => {
    let subject: Subject;
    let storage: Storage;
    before(async () => {
      subject = await open();
      storage = subject.storage;
    });
    after(() => subject?.close());

    it("gives back what was uploaded, by key and by URL", async () => {
      const url = await storage.upload(
        Readable.from(["first ", Buffer.from("second")]),
        "round/trip.txt",
      );
      for (const address of ["round/trip.txt", url]) {
        assert.equal(await text(storage, address), "first second");
        assert.equal(
          (await (await storage.downloadStream(address)).toArray()).join(""),
          "first second",
        );
        assert.equal(await storage.exists(address), true);
        assert.equal((await storage.properties(address)).size, 12);
      }
    });

    it("keeps every byte at sizes around the buffers' and in chunks of any size", async () => {
      for (const size of [
        0,
        1,
        64 * 1024,
        4 * MIB - 1,
        4 * MIB,
        4 * MIB + 1,
        8 * MIB,
        9 * MIB + 5,
      ]) {
        const bytes = Buffer.alloc(size);
        for (let at = 0; at < size; at += 1) bytes[at] = (at * 31 + (at >> 8)) % 256;
        for (const step of size <= 64 * 1024 ? [1, 1000] : [65_537, size]) {
          const key = `sizes/${size}-${step}`;
          const pieces = function* () {
            for (let at = 0; at < size; at += step) yield bytes.subarray(at, at + step);
          };
          await storage.upload(Readable.from(pieces(), { objectMode: false }), key);
          assert.ok((await storage.download(key)).equals(bytes), key);
          assert.equal((await storage.properties(key)).size, size);
        }
      }
    });

    it("reads ranges, both ends included, and cuts one that goes past the end", async () => {
      await storage.upload(Readable.from(["0123456789"]), "range/digits");
      const read = async (start: number, end: number) =>
        (await (await storage.downloadStream("range/digits", { start, end })).toArray()).join("");
      assert.equal(await read(0, 0), "0");
      assert.equal(await read(3, 6), "3456");
      assert.equal(await read(9, 9), "9");
      assert.equal(await read(7, 500), "789");
      assert.equal(await read(0, 9), "0123456789");
    });

    it("tells size, time, a distinct etag and, where it keeps one, the content type", async () => {
      const earliest = Date.now() - 2000;
      const options = { contentType: "application/pdf" };
      await storage.upload(Readable.from(["12345"]), "properties/one", options);
      await storage.upload(Readable.from(["12345"]), "properties/two");
      const one = await storage.properties("properties/one");
      assert.equal(one.size, 5);
      assert.ok(
        one.lastModified.getTime() >= earliest && one.lastModified.getTime() <= Date.now() + 2000,
      );
      assert.equal(one.contentType, subject.keepsContentType ? "application/pdf" : undefined);
      assert.notEqual(one.etag, (await storage.properties("properties/two")).etag);
      assert.equal(one.etag, (await storage.properties("properties/one")).etag);
    });

    it("throws BlobNotFound for reading what is missing, and deletes it without complaint", async () => {
      for (const key of ["missing", "missing/deeper/still"]) {
        assert.equal(await storage.exists(key), false);
        await assert.rejects(storage.download(key), BlobNotFound);
        await assert.rejects(storage.downloadStream(key), BlobNotFound);
        await assert.rejects(storage.downloadStream(key, { start: 0, end: 1 }), BlobNotFound);
        await assert.rejects(storage.properties(key), BlobNotFound);
        await storage.delete(key);
        await storage.deleteDir(key);
        assert.deepEqual(await storage.list(key), []);
        assert.deepEqual(await storage.find("m", key), []);
      }
    });

    it("does not take a folder for a blob", async () => {
      await storage.upload(Readable.from(["x"]), "folder/sub/file");
      for (const key of ["folder", "folder/sub"]) {
        assert.equal(await storage.exists(key), false);
        await assert.rejects(storage.download(key), BlobNotFound);
        await assert.rejects(storage.properties(key), BlobNotFound);
        await storage.delete(key);
      }
      await storage.deleteDir("folder/sub/file");
      assert.equal(await text(storage, "folder/sub/file"), "x");
    });

    it("never overwrites, and ends the stream that it refuses", async () => {
      await storage.upload(Readable.from(["original"]), "once/only");
      const second = Readable.from(["usurper"]);
      await assert.rejects(storage.upload(second, "once/only"), BlobExists);
      assert.equal(second.destroyed, true);
      assert.equal(await text(storage, "once/only"), "original");
    });

    it("lets exactly one of many uploads to one key win, whole", async () => {
      const bodies = Array.from({ length: 8 }, (_, index) => String(index).repeat(300_000));
      const results = await Promise.allSettled(
        bodies.map((body) => storage.upload(Readable.from([body]), "race/one")),
      );
      const winners = results.flatMap((result, index) =>
        result.status === "fulfilled" ? [index] : [],
      );
      assert.equal(winners.length, 1);
      for (const result of results) {
        if (result.status === "rejected")
          assert.ok(result.reason instanceof BlobExists, String(result.reason));
      }
      assert.equal(await text(storage, "race/one"), bodies[winners[0] ?? -1]);
      assert.deepEqual(await storage.list("race/"), ["race/one"]);
    });

    it("rejects with the source's own error and leaves nothing", async () => {
      const failure = new Error("the client went away");
      for (const chunks of [0, 1, 100]) {
        const source = Readable.from(
          (async function* () {
            yield* Array.from({ length: chunks }, () => Buffer.alloc(64 * 1024));
            throw failure;
          })(),
          { objectMode: false },
        );
        await assert.rejects(storage.upload(source, "aborted/error"), (error) => error === failure);
        assert.equal(await storage.exists("aborted/error"), false);
        assert.deepEqual(await storage.list("aborted"), []);
      }
      await storage.upload(Readable.from(["later"]), "aborted/error");
      assert.equal(await text(storage, "aborted/error"), "later");
    });

    it("rejects and leaves nothing when the source is destroyed, before, at the start or midway", async () => {
      const early = new PassThrough();
      early.destroy();
      await assert.rejects(storage.upload(early, "destroyed/before"));

      const failure = new Error("gone at once");
      const atStart = new PassThrough();
      const first = storage.upload(atStart, "destroyed/start");
      atStart.destroy(failure);
      await assert.rejects(first, (error) => error === failure);

      for (const reason of [failure, undefined]) {
        const source = new PassThrough();
        const upload = storage.upload(source, "destroyed/midway");
        const settled = assert.rejects(upload, (error) => reason === undefined || error === reason);
        for (let chunk = 0; chunk < 100; chunk += 1) {
          if (!source.write(Buffer.alloc(64 * 1024))) await once(source, "drain");
        }
        source.destroy(reason);
        await settled;
      }
      assert.deepEqual(await storage.list("destroyed"), []);
    });

    it("lists by prefix, sorted", async () => {
      const keys = [
        "list/😀",
        "list/a.b",
        "list/a/b",
        "list/aa",
        "list/Z",
        "list/é",
        "list/ملف",
        "list/\uff01",
      ];
      for (const key of keys) await storage.upload(Readable.from([key]), key);
      assert.deepEqual(await storage.list("list/"), [
        "list/Z",
        "list/a.b",
        "list/a/b",
        "list/aa",
        "list/é",
        "list/ملف",
        "list/😀",
        "list/\uff01",
      ]);
      assert.deepEqual(await storage.list("list/a"), ["list/a.b", "list/a/b", "list/aa"]);
      assert.deepEqual(await storage.list("list/a/"), ["list/a/b"]);
      assert.deepEqual(await storage.list("list/مل"), ["list/ملف"]);
      assert.deepEqual(
        (await storage.list("")).filter((key) => key.startsWith("list/a/")),
        ["list/a/b"],
      );
      for (const nothing of ["/", "list//", "../", "list/../", "li\0", "\ud800"]) {
        assert.deepEqual(await storage.list(nothing), [], JSON.stringify(nothing));
      }
    });

    it("tells keys one by one, each once, also while they are deleted", async () => {
      const keys = Array.from({ length: 40 }, (_, at) => `stream/${at % 7}/${at}`);
      for (const key of keys) await storage.upload(Readable.from([key]), key);
      const told: string[] = [];
      for await (const key of storage.keys("stream/")) {
        told.push(key);
        await storage.delete(key);
      }
      assert.deepEqual(told.sort(), [...keys].sort());
      for await (const key of storage.keys("stream/")) assert.fail(key);
      const elsewhere = storage.keys("https://example.org/x")[Symbol.asyncIterator]();
      await assert.rejects(elsewhere.next(), InvalidBlobKey);
    });

    it("finds by a part of the last segment, whatever its case", async () => {
      const keys = [
        "find/Report-2024.PDF",
        "find/report/notes.txt",
        "find/تقرير.pdf",
        "find/ÉCOLE.txt",
      ];
      for (const key of keys) await storage.upload(Readable.from(["x"]), key);
      assert.deepEqual(await storage.find("report", "find/"), ["find/Report-2024.PDF"]);
      assert.deepEqual(await storage.find(".pdf", "find"), [
        "find/Report-2024.PDF",
        "find/تقرير.pdf",
      ]);
      assert.deepEqual(await storage.find("école", "find/"), ["find/ÉCOLE.txt"]);
      assert.deepEqual(await storage.find("تقر", ""), ["find/تقرير.pdf"]);
      assert.deepEqual(await storage.find("%", "find/"), []);
      assert.equal((await storage.find("", "find/")).length, 4);
    });

    it("deletes by key and by URL, after which the key is free again", async () => {
      const url = await storage.upload(Readable.from(["1"]), "delete/one");
      await storage.upload(Readable.from(["2"]), "delete/two");
      await storage.delete(url);
      assert.deepEqual(await storage.list("delete/"), ["delete/two"]);
      await storage.delete(url);
      await storage.upload(Readable.from(["again"]), "delete/one");
      assert.equal(await text(storage, "delete/one"), "again");
      await storage.delete("delete/one");
      await storage.delete("delete/two");
      assert.deepEqual(await storage.list("delete/"), []);
    });

    it("deletes a folder with all below it and nothing beside it", async () => {
      const keys = ["tree/dir/a", "tree/dir/b/c", "tree/dir2/a", "tree/di", "tree/directory"];
      for (const key of keys) await storage.upload(Readable.from(["x"]), key);
      await storage.deleteDir("tree/dir");
      assert.deepEqual(await storage.list("tree/"), ["tree/di", "tree/dir2/a", "tree/directory"]);
      await storage.deleteDir("tree/dir2/");
      assert.deepEqual(await storage.list("tree/"), ["tree/di", "tree/directory"]);
      await assert.rejects(storage.deleteDir(""), InvalidBlobKey);
    });

    it("refuses what is no key, and URLs from elsewhere, everywhere", async () => {
      const url = new URL(await storage.upload(Readable.from(["x"]), "refuse/x"));
      const elsewhere = [
        "https://example.org/container/refuse/x",
        "file:///etc/passwd",
        url.href.replace("refuse/x", "..%2f..%2fx"),
        url.href.replace("refuse/x", "../../x"),
        url.href.replace("refuse/x", "%00"),
        url.href.replace("refuse/x", "%ff"),
        url.href.replace("refuse/x", ""),
      ];
      const keys = [
        "",
        "/",
        "/x",
        "x/",
        "a//b",
        ".",
        "..",
        "../x",
        "a/../b",
        "a/./b",
        "a/..",
        "a\0b",
        "a\nb",
        "a\u0085b",
        "\x7f",
        "\ud800x",
        "\uffff",
        "x".repeat(1025),
        ...elsewhere,
      ];
      for (const key of keys) {
        const shown = JSON.stringify(key).slice(0, 60);
        const source = Readable.from(["x"]);
        await assert.rejects(storage.upload(source, key), InvalidBlobKey, shown);
        assert.equal(source.destroyed, true);
        for (const method of [
          "download",
          "downloadStream",
          "exists",
          "properties",
          "delete",
          "deleteDir",
        ] as const) {
          if (method === "deleteDir" && key === "x/") continue;
          await assert.rejects(
            async () => storage[method](key),
            InvalidBlobKey,
            `${method} ${shown}`,
          );
        }
      }
      await assert.rejects(storage.upload(Readable.from(["x"]), url.href), InvalidBlobKey);
      for (const address of elsewhere)
        await assert.rejects(storage.list(address), InvalidBlobKey, address);
    });

    it("takes keys in any script and with any sign, and gives them back", async () => {
      const special = "%#?+ &=;:'\"`~!@$^*()[]{}|<>,.-_0aأبﻻ漢é\u0301😀\u200f\u2028";
      const sign = fc.oneof(
        fc.constantFrom(...special),
        fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
      );
      const name = fc
        .array(sign, { minLength: 1, maxLength: 30 })
        .map((signs) => signs.join("").replace(/[\p{Cc}\p{Cs}\uFFFE\uFFFF/\\]/gu, "-"))
        .filter((text) => text !== "." && text !== "..");
      let run = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(name, { minLength: 1, maxLength: 3 }), async (names) => {
          run += 1;
          const key = `any-${run}/${names.join("/")}`;
          const url = await storage.upload(Readable.from([key]), key);
          assert.ok(URL.canParse(url) && /^[\x21-\x7e]+$/.test(url), url);
          assert.equal(await text(storage, key), key);
          assert.equal(await text(storage, url), key);
          assert.deepEqual(await storage.list(`any-${run}/`), [key]);
          await storage.delete(url);
          assert.equal(await storage.exists(key), false);
        }),
        { numRuns: subject.runs },
      );
    });

    it("takes examples that encoders, XML readers and file systems get wrong", async () => {
      const names = [
        "007",
        "1e3",
        "true",
        "null",
        " x ",
        "a%2Fb",
        "%25",
        "%+",
        "100%",
        "&amp;",
        "]]>",
        "a.",
        "..a",
        "...",
        ".hidden",
        ".uploads",
        "~",
        "e\u0301",
        "\u00e9",
        "con",
        "x".repeat(255),
        "ملف".repeat(85),
        "%".repeat(255),
        `${"a".repeat(253)}..`,
        `${"م".repeat(126)}x..`,
        "😀".repeat(127),
      ];
      for (const [index, name] of names.entries()) {
        for (const key of [`odd-${index}/${name}`, `odd-${index}/${name} dir/${name}`]) {
          const url = await storage.upload(Readable.from([key]), key);
          assert.equal(await text(storage, url), key);
          assert.equal(await text(storage, key), key);
        }
        assert.equal((await storage.list(`odd-${index}/${name}`)).length, 2, name);
        await storage.deleteDir(`odd-${index}/${name} dir`);
        assert.deepEqual(await storage.list(`odd-${index}/`), [`odd-${index}/${name}`]);
      }
      await storage.upload(Readable.from(["x"]), ".uploads/mine");
      assert.deepEqual(await storage.list(".uploads"), [".uploads/mine"]);
    });

    it("serves many readers of one blob, also when some leave midway", async () => {
      await storage.upload(fresh(64, 64 * 1024), "readers/blob");
      const sizes = await Promise.all(
        Array.from({ length: 8 }, async (_, index) => {
          let size = 0;
          for await (const chunk of await storage.downloadStream("readers/blob")) {
            size += chunk.length;
            if (index % 2 === 0) break;
          }
          return size;
        }),
      );
      for (const [index, size] of sizes.entries())
        assert.equal(index % 2 === 0 ? size < 4 * MIB : size === 4 * MIB, true);
    });

    it("answers a ping, and leaves nothing by it", async () => {
      const before = await storage.list("");
      await storage.ping();
      assert.deepEqual(await storage.list(""), before);
    });

    it("carries 200 MB up and down without holding them", { timeout: 300_000 }, async () => {
      const start = memoryInUse().arrayBuffers;
      let most = 0;
      let chunks = 0;
      const watch = () => {
        chunks += 1;
        if (chunks % 200 === 0) most = Math.max(most, memoryInUse().arrayBuffers - start);
      };
      await storage.upload(fresh(3200, 64 * 1024, watch), "large/blob");
      assert.ok(most < 32 * MIB, `${most} bytes held while uploading`);
      let size = 0;
      let index = 0;
      for await (const chunk of await storage.downloadStream("large/blob")) {
        assert.equal(chunk[0], Math.floor(size / (64 * 1024)) % 251);
        size += chunk.length;
        index += 1;
        if (index % 200 === 0) most = Math.max(most, memoryInUse().arrayBuffers - start);
      }
      assert.equal(size, 200 * MIB);
      assert.ok(most < 32 * MIB, `${most} bytes held`);
      await storage.delete("large/blob");
    });

    it("lists 12,000 blobs, and deletes a folder of many", { timeout: 300_000 }, async () => {
      const keys = Array.from(
        { length: 12_000 },
        (_, index) =>
          `many/${String(index)
            .padStart(5, "0")
            .replace(/(?=..$)/, "/")}/file`,
      );
      await subject.seed(keys);
      assert.deepEqual(await storage.list("many/"), keys);
      assert.equal((await storage.find("FILE", "many/")).length, 12_000);
      await storage.deleteDir(subject.manyToDelete);
      const kept = keys.filter((key) => !key.startsWith(`${subject.manyToDelete}/`));
      assert.ok(kept.length < keys.length);
      assert.deepEqual(await storage.list("many"), kept);
    });
  });
}

contract("LocalFolderStorage", openFolder);
contract("AzureBlobStorage on Azurite", openAzurite);
