import type { Stats } from "node:fs";
import * as fs from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import type { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { fileURLToPath, pathToFileURL } from "node:url";
import { checkKey, findNames, InvalidBlobKey, isKey, isUrl, sorted } from "./keys.ts";
import { toKey, toPath } from "./local-names.ts";
import { UnfinishedFiles } from "./local-unfinished.ts";
import {
  BlobExists,
  BlobNotFound,
  type BlobProperties,
  type ByteRange,
  type Storage,
} from "./storage.ts";
import { consume } from "./streaming.ts";

/** Holds files until they are whole. No path of a key begins so. */
const UNFINISHED = ".unfinished";

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code ?? "";

/**
 * Blobs as files, for their owner alone, in a folder that only servers of this kind write to. What
 * `upload` or a deletion did is on the disk (fsync) when it returns. No content type is kept, and a
 * key can't also be a folder of other keys.
 */
export class LocalFolderStorage implements Storage {
  readonly description: string;
  readonly #folder: string;
  readonly #unfinished: UnfinishedFiles;

  private constructor(folder: string) {
    this.description = `folder ${folder}`;
    this.#folder = folder;
    this.#unfinished = new UnfinishedFiles(join(folder, UNFINISHED));
  }

  /** Makes the folder where it is missing, unless `readOnly`. */
  static async open({ folder, readOnly = false }: { folder: string; readOnly?: boolean }) {
    if (!readOnly) {
      await fs.mkdir(join(folder, UNFINISHED), { recursive: true, mode: 0o700 });
      // There an earlier version kept its unfinished files.
      await fs.rm(join(folder, ".uploads"), { recursive: true, force: true });
    }
    return new LocalFolderStorage(await fs.realpath(folder));
  }

  async upload(stream: Readable, key: string): Promise<string> {
    return consume(stream, async () => {
      const target = this.#path(checkKey(key));
      const unfinished = await this.#unfinished.newFile();
      try {
        await fs.writeFile(unfinished, stream, { flag: "wx", mode: 0o600, flush: true });
        await this.#publish(unfinished, target);
      } finally {
        await fs.rm(unfinished, { force: true });
      }
      return this.url(key);
    });
  }

  url(keyOrUrl: string): string {
    return pathToFileURL(this.#path(keyOrUrl)).href;
  }

  async download(keyOrUrl: string): Promise<Buffer> {
    return buffer(await this.downloadStream(keyOrUrl));
  }

  async downloadStream(keyOrUrl: string, range?: ByteRange): Promise<Readable> {
    await this.properties(keyOrUrl); // throws BlobNotFound
    const file = await fs.open(this.#path(keyOrUrl)).catch(ignoreAbsent);
    if (!file) throw new BlobNotFound("No blob has this key");
    return file.createReadStream({ ...range });
  }

  async delete(keyOrUrl: string): Promise<void> {
    if (await this.exists(keyOrUrl)) await fs.rm(this.#path(keyOrUrl), { force: true });
    await this.#removeEmptyFolders(dirname(this.#path(keyOrUrl)));
  }

  async deleteDir(prefix: string): Promise<void> {
    const path = this.#path(prefix.replace(/\/$/, ""));
    const found = await fs.stat(path).catch(ignoreAbsent);
    if (found?.isDirectory()) await fs.rm(path, { recursive: true });
    await this.#removeEmptyFolders(dirname(path));
  }

  async exists(keyOrUrl: string): Promise<boolean> {
    return (await this.#stat(keyOrUrl)) !== undefined;
  }

  async properties(keyOrUrl: string): Promise<BlobProperties> {
    const found = await this.#stat(keyOrUrl);
    if (!found) throw new BlobNotFound("No blob has this key");
    const { size, mtime, mtimeMs, ino } = found;
    const etag = `"${mtimeMs}-${size}-${ino}"`;
    return { size, contentType: undefined, lastModified: mtime, etag };
  }

  list(prefix: string): Promise<string[]> {
    return sorted(this.keys(prefix));
  }

  async *keys(prefix: string): AsyncGenerator<string> {
    const start = isUrl(prefix) ? this.#keyOf(prefix) : prefix;
    if (!isKey(`${start}x`)) return;
    const folder = start.slice(0, Math.max(0, start.lastIndexOf("/")));
    for await (const path of walk(join(this.#folder, toPath(folder)))) {
      const key = toKey(relative(this.#folder, path));
      if (key?.startsWith(start)) yield key;
    }
  }

  async find(query: string, prefix: string): Promise<string[]> {
    return findNames(await this.list(prefix), query);
  }

  async ping(): Promise<void> {
    await this.#unfinished.probe();
  }

  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await fs.statfs(this.#folder);
    return bavail * bsize;
  }

  renew(dryRun = false): Promise<string[]> {
    return this.#unfinished.renew(dryRun);
  }

  close(): Promise<void> {
    return this.#unfinished.close();
  }

  #path(keyOrUrl: string): string {
    return join(this.#folder, toPath(this.#keyOf(keyOrUrl)));
  }

  #keyOf(keyOrUrl: string): string {
    if (!isUrl(keyOrUrl)) return checkKey(keyOrUrl);
    try {
      const key = toKey(relative(this.#folder, fileURLToPath(keyOrUrl)));
      if (key !== undefined) return key;
    } catch {}
    throw new InvalidBlobKey("This URL is not of a blob in this folder");
  }

  /** Undefined for what is missing or a folder. */
  async #stat(keyOrUrl: string): Promise<Stats | undefined> {
    const found = await fs.stat(this.#path(keyOrUrl)).catch(ignoreAbsent);
    return found?.isFile() ? found : undefined;
  }

  /** Moves a finished file to `target`. rename(2) overwrites: an empty file claims the name. */
  async #publish(unfinished: string, target: string): Promise<void> {
    await fs.mkdir(dirname(target), { recursive: true, mode: 0o700 });
    await fs.writeFile(target, "", { flag: "wx", mode: 0o600 }).catch((error: unknown) => {
      throw codeOf(error) === "EEXIST" ? new BlobExists("A blob with this key exists") : error;
    });
    try {
      await fs.rename(unfinished, target);
      for (let path = target; path !== this.#folder; path = dirname(path))
        await syncFolder(dirname(path));
    } catch (error) {
      await fs.rm(target, { force: true });
      throw error;
    }
  }

  /** `folder` and those above it, as far as they are empty, each when its own deletions last. */
  async #removeEmptyFolders(folder: string): Promise<void> {
    for (let path = folder; ; path = dirname(path)) {
      await syncFolder(path).catch(ignoreAbsent);
      if (path === this.#folder) return;
      try {
        await fs.rmdir(path);
      } catch (error) {
        if (codeOf(error) !== "ENOENT") return;
      }
    }
  }
}

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
