import { hash } from "node:crypto";
import { createWriteStream, type Stats } from "node:fs";
import * as fs from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { FileStream } from "./file-stream.ts";
import { OWN_KEY } from "./keys.ts";
import { toKey, toPath, toPaths } from "./local-names.ts";
import {
  BlobExists,
  BlobNotFound,
  type BlobProperties,
  type ByteRange,
  Storage,
} from "./storage.ts";

/** Holds files until they are whole, by the hashes of their keys. No path of a key begins so. */
const UNFINISHED = ".unfinished";
/** Bytes of an upload that wait for the disk, which takes together what is there. */
const BUFFERED = 256 * 1024;
/** Milliseconds. The bytes of an upload come more often. */
const HOUR = 60 * 60 * 1000;
/** Larger than what a file system keeps beside a file's name. */
const SAMPLE = Buffer.alloc(4096);

/** Clients see the URLs, which name no folder of the machine; workers drop the first segment. */
const BASE = "file:///blobs/";

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code ?? "";

/**
 * Blobs as files for their owner alone. What `upload` or a deletion did is on the disk (fsync) when
 * it returns. No content type is kept, and a key can't also be a folder of other keys.
 */
export class LocalFolderStorage extends Storage {
  readonly description: string;
  readonly #folder: string;
  #lastSync = Promise.resolve();
  #nextSync: Promise<void> | undefined;

  private constructor(folder: string) {
    super();
    this.description = `folder ${folder}`;
    this.#folder = folder;
  }

  /** Makes the folder where it is missing, unless `readOnly`. */
  static async open({ folder, readOnly = false }: { folder: string; readOnly?: boolean }) {
    if (!readOnly) await fs.mkdir(join(folder, UNFINISHED), { recursive: true, mode: 0o700 });
    return new LocalFolderStorage(await fs.realpath(folder));
  }

  url(keyOrUrl: string): string {
    return BASE + this.keyOf(keyOrUrl).split("/").map(encodeURIComponent).join("/");
  }

  async downloadStream(keyOrUrl: string, range?: ByteRange): Promise<Readable> {
    const { path, size } = await this.#get(keyOrUrl);
    const file = await fs.open(path).catch(ignoreAbsent);
    if (!file) throw notFound();
    const { start = 0, end = size } = range ?? {};
    return new FileStream(file, start, Math.min(end + 1, size));
  }

  async delete(keyOrUrl: string): Promise<void> {
    const found = await this.#find(keyOrUrl);
    await fs.rm(found?.path ?? this.#unfinished(this.keyOf(keyOrUrl)), { force: true });
    // What is gone already may not be so on the disk.
    const path = found?.path ?? this.#paths(keyOrUrl).at(-1) ?? "";
    await this.#removeEmptyFolders(dirname(path));
  }

  /** Syncs no folder that goes, unlike `delete`. */
  override async deleteDir(prefix: string): Promise<void> {
    const path = join(this.#folder, toPath(this.keyOf(prefix.replace(/\/$/, ""))));
    const found = await fs.stat(path).catch(ignoreAbsent);
    if (found?.isDirectory()) await fs.rm(path, { recursive: true });
    await super.deleteDir(prefix); // those that need no folder
    await this.#removeEmptyFolders(dirname(path));
  }

  async properties(keyOrUrl: string): Promise<BlobProperties> {
    const { size, mtime, mtimeMs, ino } = await this.#get(keyOrUrl);
    const etag = `"${mtimeMs}-${size}-${ino}"`;
    return { size, contentType: undefined, lastModified: mtime, etag };
  }

  /** Writes a file and removes it, which fails on a full disk. */
  async ping(): Promise<void> {
    const path = join(this.#folder, UNFINISHED, "probe");
    try {
      await fs.writeFile(path, SAMPLE);
    } finally {
      await fs.rm(path, { force: true });
    }
  }

  override async freeBytes(): Promise<number> {
    const { bavail, bsize } = await fs.statfs(this.#folder);
    return bavail * bsize;
  }

  override async removeUnfinished(dryRun = false): Promise<string[]> {
    const old: string[] = [];
    for (const name of await fs.readdir(join(this.#folder, UNFINISHED))) {
      const path = join(this.#folder, UNFINISHED, name);
      const found = await fs.stat(path).catch(ignoreAbsent);
      if (!found || found.mtimeMs > Date.now() - HOUR) continue;
      old.push(name);
      if (!dryRun) await fs.rm(path, { recursive: true, force: true });
    }
    return old;
  }

  protected parseUrl(url: string): string | undefined {
    const { href } = new URL(url);
    if (href.startsWith(BASE)) return decodeURIComponent(href.slice(BASE.length));
    // Of earlier versions, in messages that wait.
    return toKey(relative(this.#folder, fileURLToPath(url)));
  }

  protected async store(stream: Readable, key: string): Promise<void> {
    const unfinished = this.#unfinished(key);
    const options = { flags: "wx", mode: 0o600, flush: true, highWaterMark: BUFFERED };
    try {
      await pipeline(stream, createWriteStream(unfinished, options));
      await this.#publish(unfinished, join(this.#folder, toPaths(key)[0]));
    } catch (error) {
      const { code, syscall } = error as NodeJS.ErrnoException;
      // Only who makes it moves or removes it: no other upload of the key comes in between.
      if (syscall !== "open") await fs.rm(unfinished, { force: true });
      throw code === "EEXIST" && syscall === "open" ? exists() : error;
    }
  }

  protected async *keysFrom(start: string): AsyncGenerator<string> {
    const end = OWN_KEY.test(start) ? 0 : Math.max(0, start.lastIndexOf("/"));
    for await (const path of walk(join(this.#folder, toPath(start.slice(0, end))))) {
      const key = toKey(relative(this.#folder, path));
      if (key?.startsWith(start)) yield key;
    }
  }

  #paths(keyOrUrl: string): string[] {
    return toPaths(this.keyOf(keyOrUrl)).map((path) => join(this.#folder, path));
  }

  async #find(keyOrUrl: string): Promise<(Stats & { path: string }) | undefined> {
    for (const path of this.#paths(keyOrUrl)) {
      const found = await fs.stat(path).catch(ignoreAbsent);
      if (found?.isFile()) return Object.assign(found, { path });
    }
    return undefined;
  }

  async #get(keyOrUrl: string) {
    const found = await this.#find(keyOrUrl);
    if (!found) throw notFound();
    return found;
  }

  #unfinished(key: string): string {
    return join(this.#folder, UNFINISHED, hash("sha256", key));
  }

  /** Moves a whole file to `target`, unless there is one. */
  async #publish(unfinished: string, target: string): Promise<void> {
    if (await fs.stat(target).catch(ignoreAbsent)) throw exists();
    const folder = dirname(target);
    if (folder !== this.#folder) await fs.mkdir(folder, { recursive: true, mode: 0o700 });
    try {
      await fs.rename(unfinished, target);
      for (let path = target; path !== this.#folder; path = dirname(path))
        await this.#sync(dirname(path));
    } catch (error) {
      await fs.rm(target, { force: true });
      throw error;
    }
  }

  /** `folder` and those above it, as far as they are empty, each when its own deletions last. */
  async #removeEmptyFolders(folder: string): Promise<void> {
    for (let path = folder; ; path = dirname(path)) {
      await this.#sync(path).catch(ignoreAbsent);
      if (path === this.#folder) return;
      try {
        await fs.rmdir(path);
      } catch (error) {
        if (codeOf(error) !== "ENOENT") return;
      }
    }
  }

  /** Of those that wait for the storage's own folder while it is synced, one syncs it for all. */
  #sync(folder: string): Promise<void> {
    if (folder !== this.#folder) return syncFolder(folder);
    this.#nextSync ??= this.#lastSync.then(() => {
      const sync = syncFolder(folder);
      this.#nextSync = undefined;
      this.#lastSync = sync.catch(() => {});
      return sync;
    });
    return this.#nextSync;
  }
}

const notFound = () => new BlobNotFound("No blob has this key");
const exists = () => new BlobExists("A blob with this key exists");

function ignoreAbsent(error: unknown): undefined {
  if (!["ENOENT", "ENOTDIR"].includes(codeOf(error))) throw error;
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await fs.open(folder);
  await handle.sync().finally(() => handle.close());
}

/** Paths of all files below `folder`, read piece by piece: it may have millions of entries. */
async function* walk(folder: string): AsyncGenerator<string> {
  for await (const entry of (await fs.opendir(folder).catch(ignoreAbsent)) ?? []) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* walk(path);
    else if (entry.isFile()) yield path;
  }
}
