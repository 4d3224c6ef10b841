import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  statfs,
  utimes,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { text as textOf } from "node:stream/consumers";
import { afterEach, beforeEach, describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import { InvalidBlobKey } from "../../src/storage/keys.ts";
import { LocalFolderStorage } from "../../src/storage/local-folder.ts";
import { toKey, toPath } from "../../src/storage/local-names.ts";
import { BlobExists } from "../../src/storage/storage.ts";
import { watchSyncs } from "../support/syncs.ts";
import { until } from "../support/wait.ts";

describe("LocalFolderStorage", () => {
  let outside: string;
  let folder: string;
  let storage: LocalFolderStorage;
  /** But the folder of unfinished files. */
  const everything = async () =>
    (await readdir(folder, { recursive: true })).filter((name) => name !== ".unfinished");

  beforeEach(async () => {
    outside = await realpath(await mkdtemp(join(tmpdir(), "storage-")));
    folder = join(outside, "blobs");
    storage = await LocalFolderStorage.open({ folder });
  });
  afterEach(async () => {
    await storage.close();
    await rm(outside, { recursive: true });
  });

  it("makes its folder, and names it in the description", async () => {
    assert.equal((await stat(folder)).isDirectory(), true);
    assert.equal(storage.description, `folder ${folder}`);
  });

  it("keeps a blob in a file of the same path; its URL names no folder of the machine", async () => {
    const url = await storage.upload(Readable.from(["bytes"]), "3f1c/تقرير 1.pdf");
    assert.equal(await readFile(join(folder, "3f1c", "تقرير 1.pdf"), "utf8"), "bytes");
    assert.equal(url, `file:///blobs/3f1c/${encodeURIComponent("تقرير 1.pdf")}`);
    // As earlier versions spelt it, in messages that wait.
    const { href } = pathToFileURL(join(folder, "3f1c", "تقرير 1.pdf"));
    assert.equal(await textOf(await storage.downloadStream(href)), "bytes");
  });

  it("writes names that file systems refuse in a form that can be undone", async () => {
    assert.equal(toPath("a/b:c?.txt"), join("a", "b%3Ac%3F.txt"));
    assert.equal(toPath("100%/a\\b"), join("100%25", "a%5Cb"));
    assert.equal(toPath(".hidden/.unfinished"), join("%2Ehidden", "%2Eunfinished"));
    assert.equal(toPath(`${"x".repeat(253)}..y`), join(`${"x".repeat(253)}%+`, "%2E.y"));
    for (const key of [
      "a\\b/c",
      "%41",
      "%+",
      "x%+/y",
      "ا".repeat(255),
      `${"😀".repeat(200)}/${".".repeat(600)}`,
    ]) {
      assert.equal(toKey(toPath(key)), key);
      for (const name of toPath(key).split("/")) assert.ok(Buffer.byteLength(name) <= 255, name);
      const url = await storage.upload(Readable.from([key]), key);
      assert.equal(await textOf(await storage.downloadStream(url)), key);
      assert.equal((await stat(join(folder, toPath(key)))).size, Buffer.byteLength(key));
      await storage.delete(url);
    }
    for (const foreign of ["100%", "a%2fb", "%41", ".DS_Store", "name%+", "x%+/", "a:b"]) {
      assert.equal(toKey(foreign), undefined, foreign);
    }
    assert.deepEqual(await everything(), []);
  });

  it("reads what earlier versions stored", async () => {
    const part = "ا".repeat(126);
    for (const [key, names] of [
      ["u/a:b?.pdf", ["u", "a%3Ab%3F.pdf"]],
      ["u/.hidden", ["u", "%2Ehidden"]],
      [`u/${"ا".repeat(255)}`, ["u", `${part}%+`, `${part}%+`, "ااا"]],
    ] as const) {
      const path = join(folder, ...names);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, key);
      assert.equal((await storage.download(key)).toString(), key);
      assert.deepEqual(await storage.list("u/"), [key]);
      await storage.delete(key);
    }
    assert.deepEqual(await everything(), []);
  });

  it("keeps a server's own blobs in files beside each other, and reads an earlier version's", async () => {
    const own = "3f1c9d1e-4a2b-4c6d-8e9f-0a1b2c3d4e5f";
    const files: [key: string, path: string][] = [
      [`${own}/a:b.pdf`, `${own}%~a%3Ab.pdf`],
      [`${own}/.hidden`, `${own}%~%2Ehidden`],
      [`${own}/${"x".repeat(217)}`, `${own}%~${"x".repeat(217)}`],
      [`${own}/${"x".repeat(218)}`, `${own}/${"x".repeat(218)}`],
      [`${own}/a/b`, `${own}/a/b`],
      [`${own}%~a`, `${own}%25~a`],
      [`${own.toUpperCase()}/a`, `${own.toUpperCase()}/a`],
    ];
    for (const [key, path] of files) {
      const url = await storage.upload(Readable.from([key]), key);
      assert.equal(await readFile(join(folder, path), "utf8"), key);
      assert.equal(storage.url(key), url);
      assert.equal((await storage.download(url)).toString(), key);
      await assert.rejects(storage.upload(Readable.from(["x"]), key), BlobExists);
    }
    const keys = files.map(([key]) => key).sort();
    assert.deepEqual(await storage.list(""), keys);
    assert.deepEqual(
      await storage.list(`${own}/`),
      keys.filter((key) => key.startsWith(`${own}/`)),
    );
    await storage.deleteDir(own);
    assert.equal((await storage.list("")).length, 2);
    for (const key of keys) await storage.delete(key);

    await mkdir(join(folder, own));
    await writeFile(join(folder, own, "old.pdf"), "old");
    const key = `${own}/old.pdf`;
    for (const address of [key, storage.url(key), pathToFileURL(join(folder, key)).href])
      assert.equal((await storage.download(address)).toString(), "old");
    assert.deepEqual(await storage.list(`${own}/o`), [key]);
    await storage.delete(storage.url(key));
    assert.deepEqual(await everything(), []);
  });

  it("passes over files that are no blobs of its making", async () => {
    await storage.upload(Readable.from(["x"]), "u/mine");
    await writeFile(join(folder, ".DS_Store"), "");
    await writeFile(join(folder, "50%"), "");
    await writeFile(join(folder, "u", "a:b"), "");
    await writeFile(join(folder, ".unfinished", "half"), "");
    assert.deepEqual(await storage.list(""), ["u/mine"]);
  });

  it("leaves neither file nor folder behind when an upload fails", async () => {
    const failure = new Error("connection lost");
    const source = new PassThrough();
    const rejected = assert.rejects(
      storage.upload(source, "deep/er/file"),
      (error) => error === failure,
    );
    source.write("some bytes");
    await until(async () => (await everything()).length > 0, "an unfinished file");
    assert.deepEqual(await storage.list(""), []);
    source.destroy(failure);
    await rejected;
    assert.deepEqual(await everything(), []);
    await assert.rejects(storage.upload(Readable.from(["x"]), "../escape"), InvalidBlobKey);
    await storage.upload(Readable.from(["x"]), "taken");
    await assert.rejects(storage.upload(Readable.from(["x"]), "taken"), BlobExists);
    await assert.rejects(storage.upload(Readable.from(["x"]), "taken/below"), { syscall: "mkdir" });
    assert.deepEqual(await everything(), ["taken"]);
  });

  it("rejects with the system's error and cleans up when the disk takes no more", async () => {
    // A limit on file sizes stands in for a full disk: both fail write(2) midway.
    const script = `
      import { Readable } from "node:stream";
      import { LocalFolderStorage } from ${JSON.stringify(new URL("../../src/storage/local-folder.ts", import.meta.url).href)};
      const storage = await LocalFolderStorage.open({ folder: ${JSON.stringify(folder)} });
      const source = Readable.from((function* () { for (;;) yield Buffer.alloc(65536); })(), { objectMode: false });
      await storage.upload(source, "too/large").catch((error) => process.stdout.write(error.code));
    `;
    const node = [process.execPath, "--import", "tsx", "--input-type=module", "--eval", script];
    const child = spawn("sh", ["-c", "trap '' XFSZ; ulimit -f 4000; exec \"$@\"", "sh", ...node], {
      stdio: ["ignore", "pipe", "inherit"],
      cwd: new URL("../..", import.meta.url),
    });
    const [printed] = await Promise.all([textOf(child.stdout), once(child, "exit")]);
    assert.equal(printed, "EFBIG");
    assert.deepEqual(await everything(), []);
  });

  it("removes folders that a deletion leaves empty, and no others", async () => {
    await storage.upload(Readable.from(["x"]), "a/b/c/one");
    await storage.upload(Readable.from(["x"]), "a/two");
    await storage.delete("a/b/c/one");
    assert.deepEqual((await everything()).sort(), ["a", "a/two"]);
    await storage.deleteDir("a");
    assert.deepEqual(await everything(), []);
  });

  it("keeps what is under way apart: no other upload of the key, and a deletion ends it", async () => {
    const source = new PassThrough();
    const key = `${randomUUID()}/file`;
    const stopped = assert.rejects(storage.upload(source, key), { code: "ENOENT" });
    source.write("some bytes");
    await until(async () => (await everything()).length > 0, "an unfinished file");
    const other = await LocalFolderStorage.open({ folder });
    await assert.rejects(other.upload(Readable.from(["x"]), key), BlobExists);
    assert.equal((await everything()).length, 1);
    // As another process does when this one was not heard of for long.
    await other.delete(key);
    assert.deepEqual(await everything(), []);
    source.end("more");
    await stopped;
    await other.upload(Readable.from(["x"]), key);
    assert.deepEqual(await storage.list(""), [key]);
  });

  it("removes what uploads of dead processes left, an hour later, and nothing else", async () => {
    const all = join(folder, ".unfinished");
    const leave = async (name: string, minutes: number) => {
      const then = new Date(Date.now() - minutes * 60_000);
      await writeFile(join(all, name), "");
      await utimes(join(all, name), then, then);
    };
    await leave("young", 59);
    await leave("old", 61);
    // As earlier versions kept them.
    await mkdir(join(all, "process"));
    await leave("process/file.part", 61);
    await utimes(join(all, "process"), new Date(0), new Date(0));
    await storage.upload(Readable.from(["x"]), "a/blob");
    assert.deepEqual((await storage.removeUnfinished(true)).sort(), ["old", "process"]);
    assert.equal((await readdir(all)).length, 3);
    assert.deepEqual((await storage.removeUnfinished()).sort(), ["old", "process"]);
    assert.deepEqual(await readdir(all), ["young"]);
    assert.deepEqual(await storage.list(""), ["a/blob"]);
  });

  it("makes files and folders for their owner alone", async () => {
    await storage.upload(Readable.from(["x"]), "a/b/file");
    const mode = async (name: string) => (await stat(join(folder, name))).mode & 0o777;
    for (const name of ["", ".unfinished", "a", "a/b"]) assert.equal(await mode(name), 0o700, name);
    assert.equal(await mode("a/b/file"), 0o600);
  });

  it("knows what is free on its disk", async () => {
    const { bavail, bsize } = await statfs(folder);
    const free = await storage.freeBytes();
    assert.ok(Math.abs(free - bavail * bsize) < 2 ** 30, `${free} of ${bavail * bsize}`);
  });

  it("fails a ping and an upload while the folder is gone, and does not make it anew", async () => {
    await rename(folder, `${folder}-elsewhere`);
    await assert.rejects(storage.ping(), { code: "ENOENT" });
    await assert.rejects(storage.upload(Readable.from(["x"]), "key"), { code: "ENOENT" });
    await assert.rejects(stat(folder), { code: "ENOENT" });
    await rename(`${folder}-elsewhere`, folder);
    await storage.ping();
    assert.deepEqual(await everything(), []);
  });

  it("has file and folders on the disk, in this order, before an upload returns", async (test) => {
    const synced: number[] = [];
    await watchSyncs(test, ({ ino }) => synced.push(ino));
    await storage.upload(Readable.from(["x"]), "a/b/file");
    const inode = async (...names: string[]) => (await stat(join(folder, ...names))).ino;
    assert.deepEqual(synced.splice(0), [
      await inode("a", "b", "file"),
      await inode("a", "b"),
      await inode("a"),
      await inode(),
    ]);

    const ownKey = () => `${randomUUID()}/file`;
    const key = ownKey();
    await storage.upload(Readable.from(["x"]), key);
    assert.deepEqual(synced.splice(0), [await inode(key.replace("/", "%~")), await inode()]);
    // Those that wait for the folder together share its sync.
    await Promise.all(Array.from({ length: 8 }, () => storage.upload(Readable.from([]), ownKey())));
    const root = await inode();
    const shared = synced.filter((one) => one === root).length;
    assert.ok(synced.length - shared === 8 && shared < 8, `${synced.length} in all, ${shared}`);
  });

  it("has a deletion on the disk, in this order, before it returns", async (test) => {
    await storage.upload(Readable.from(["x"]), "a/b/file");
    await storage.upload(Readable.from(["x"]), "a/other");
    const events: string[] = [];
    const nameOf = new Map<number, string>();
    for (const name of ["a/b", "a", ""]) nameOf.set((await stat(join(folder, name))).ino, name);
    await watchSyncs(test, async ({ ino }) => {
      events.push(`sync ${nameOf.get(ino)}, with ${(await everything()).sort().join(" ")}`);
    });
    await storage.delete("a/b/file");
    assert.deepEqual(events, ["sync a/b, with a a/b a/other", "sync a, with a a/other"]);
    // Again after a crash in between: what is gone already may not be so on the disk.
    events.length = 0;
    await storage.delete("a/b/file");
    assert.deepEqual(events, ["sync a, with a a/other"]);
    await storage.deleteDir("a");
    assert.deepEqual(events.slice(1), ["sync , with "]);
  });

  it("closes its files, whether a reader finishes, leaves or never begins", async (test) => {
    const descriptors = await readdir("/proc/self/fd").catch(() => undefined);
    if (!descriptors) return test.skip("this system has no /proc/self/fd to count open files in");
    const openFiles = async () => {
      const targets = await Promise.all(
        (await readdir("/proc/self/fd")).map((fd) =>
          realpath(`/proc/self/fd/${fd}`).catch(() => ""),
        ),
      );
      return targets.filter((target) => target.startsWith(folder)).length;
    };
    await storage.upload(Readable.from([Buffer.alloc(1024 * 1024)]), "file");
    for (const leave of ["finish", "midway", "at once"]) {
      const stream = await storage.downloadStream("file");
      if (leave === "finish") stream.resume();
      if (leave === "midway") stream.once("data", () => stream.destroy());
      if (leave === "at once") stream.destroy();
      await once(stream, "close");
      assert.equal(await openFiles(), 0, leave);
    }
    await storage.exists("file");
    await storage.properties("file");
    await assert.rejects(storage.upload(Readable.from([1, 2] as never), "bad/chunks"));
    assert.equal(await openFiles(), 0);
    assert.deepEqual((await everything()).sort(), ["file"]);
  });
});
