import { randomUUID } from "node:crypto";
import { type BigIntStats, constants } from "node:fs";
import { type FileHandle, lstat, mkdir, open, realpath, rm, unlink } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import type { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { fileURLToPath, pathToFileURL } from "node:url";
import { checkKey, InvalidBlobKey, isPrefix, isUrl, nameContains, sortKeys } from "./keys.ts";
import {
  codeOf,
  publish,
  removeEmptyFolders,
  removeStaleFiles,
  STALE_AFTER,
  syncFolders,
  walk,
} from "./local-files.ts";
import { toKey, toPath } from "./local-names.ts";
import {
  BlobExists,
  BlobNotFound,
  type BlobProperties,
  type ByteRange,
  type Storage,
} from "./storage.ts";
import { checkRange, consume } from "./streaming.ts";

/** Unfinished uploads, in the storage folder so that they are on its file system. Never a key's path: it starts with a dot. */
const UPLOADS = ".uploads";

/** How often publishing may find its folder removed by a delete beside it before that counts as a failure. */
const PUBLISH_ATTEMPTS = 20;

/** A folder removed meanwhile; node's recursive mkdir says ENOTDIR when that happens between two of its steps. */
const VANISHED: readonly string[] = ["ENOENT", "ENOTDIR"];

/** Opening what is no regular file must neither follow a link out of the folder nor wait for a pipe's other end. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** What open(2), lstat(2) and realpath(3) say of a path that no blob has. */
const ABSENT: readonly string[] = ["ENOENT", "ENOTDIR", "ELOOP", "ENXIO", "ENAMETOOLONG"];

const isAbsent = (error: unknown) => ABSENT.includes(codeOf(error) ?? "");

/**
 * Blobs as files in a folder; names on disk as told in `local-names.ts`; a blob's URL is its file's. A finished blob is on
 * the disk (fsync) before `upload` returns. It keeps no content type, and a key can't also be a folder of other keys.
 */
export class LocalFolderStorage implements Storage {
  readonly description: string;
  readonly #folder: string;
  readonly #sweep: NodeJS.Timeout;
  #cleaning: Promise<void> = Promise.resolve();

  private constructor(folder: string) {
    this.description = `folder ${folder}`;
    this.#folder = folder;
    const clean = () => {
      // What can't be removed now is tried again; uploads don't depend on it.
      this.#cleaning = removeStaleFiles(join(folder, UPLOADS)).catch(() => {});
    };
    this.#sweep = setInterval(clean, STALE_AFTER).unref();
    clean();
  }

  /** Opens the storage in `folder`, made if missing; throws the system's error when that can't be. */
  static async open(options: { folder: string }): Promise<LocalFolderStorage> {
    await mkdir(options.folder, { recursive: true });
    return new LocalFolderStorage(await realpath(options.folder));
  }

  async upload(stream: Readable, key: string): Promise<string> {
    return consume(stream, async () => {
      const target = join(this.#folder, toPath(checkKey(key)));
      if (await this.exists(key)) throw new BlobExists("A blob with this key exists");
      const temporary = join(this.#folder, UPLOADS, `${randomUUID()}.part`);
      try {
        const file = await this.#create(temporary);
        try {
          await file.writeFile(stream);
          await file.sync();
        } finally {
          await file.close();
        }
        await this.#publish(temporary, target);
      } finally {
        await rm(temporary, { force: true });
      }
      return pathToFileURL(target).href;
    });
  }

  async download(keyOrUrl: string): Promise<Buffer> {
    return buffer(await this.downloadStream(keyOrUrl));
  }

  async downloadStream(keyOrUrl: string, range?: ByteRange): Promise<Readable> {
    if (range) checkRange(range);
    const { file, stats } = await this.#open(keyOrUrl);
    try {
      if (range) checkRange(range, Number(stats.size));
    } catch (error) {
      await file.close();
      throw error;
    }
    return file.createReadStream({ ...range });
  }

  async delete(keyOrUrl: string): Promise<void> {
    const path = this.#path(this.#keyOf(keyOrUrl));
    try {
      await this.#checkInside(dirname(path));
      if (!(await lstat(path)).isFile()) return;
      await unlink(path);
    } catch (error) {
      // Its folder may be left of an upload that a crash cut off.
      if (!isAbsent(error)) throw error;
    }
    await removeEmptyFolders(dirname(path), this.#folder);
  }

  async deleteDir(prefix: string): Promise<void> {
    const path = this.#path(
      isUrl(prefix) ? this.#keyOf(prefix) : checkKey(prefix.replace(/\/$/, "")),
    );
    try {
      await this.#checkInside(dirname(path));
      if (!(await lstat(path)).isDirectory()) return;
    } catch (error) {
      if (isAbsent(error)) return;
      throw error;
    }
    // Retries are for a folder that an upload beside it fills again.
    await rm(path, { recursive: true, force: true, maxRetries: 3 });
    await removeEmptyFolders(dirname(path), this.#folder);
  }

  async exists(keyOrUrl: string): Promise<boolean> {
    try {
      const { file } = await this.#open(keyOrUrl);
      await file.close();
      return true;
    } catch (error) {
      if (error instanceof BlobNotFound) return false;
      throw error;
    }
  }

  async properties(keyOrUrl: string): Promise<BlobProperties> {
    const { file, stats } = await this.#open(keyOrUrl);
    await file.close();
    return {
      size: Number(stats.size),
      contentType: undefined,
      lastModified: new Date(Number(stats.mtimeMs)),
      etag: `"${stats.mtimeNs.toString(16)}-${stats.size.toString(16)}-${stats.ino.toString(16)}"`,
    };
  }

  async list(prefix: string): Promise<string[]> {
    const start = isUrl(prefix) ? this.#keyOf(prefix) : prefix;
    if (!isPrefix(start)) return [];
    const folder = start.slice(0, Math.max(0, start.lastIndexOf("/")));
    const keys: string[] = [];
    for await (const path of walk(folder === "" ? this.#folder : this.#path(folder))) {
      const key = toKey(relative(this.#folder, path));
      if (key?.startsWith(start)) keys.push(key);
    }
    return sortKeys(keys);
  }

  async find(query: string, prefix: string): Promise<string[]> {
    return (await this.list(prefix)).filter((key) => nameContains(key, query));
  }

  async ping(): Promise<void> {
    const probe = join(this.#folder, UPLOADS, `${randomUUID()}.part`);
    await (await this.#create(probe)).close();
    await unlink(probe);
  }

  async close(): Promise<void> {
    clearInterval(this.#sweep);
    await this.#cleaning;
  }

  #path(key: string): string {
    return join(this.#folder, toPath(key));
  }

  #keyOf(keyOrUrl: string): string {
    if (!isUrl(keyOrUrl)) return checkKey(keyOrUrl);
    let path: string;
    try {
      path = fileURLToPath(keyOrUrl);
    } catch {
      throw new InvalidBlobKey("This is not a file URL");
    }
    const key = toKey(relative(this.#folder, path));
    if (key === undefined) throw new InvalidBlobKey("This URL is not of a blob in this folder");
    return key;
  }

  /** Creates a temporary file. The uploads folder is made when missing, the storage folder is not: it may be an absent mount. */
  async #create(path: string): Promise<FileHandle> {
    try {
      return await open(path, "wx");
    } catch (error) {
      if (codeOf(error) !== "ENOENT") throw error;
    }
    await mkdir(dirname(path)).catch((error: unknown) => {
      if (codeOf(error) !== "EEXIST") throw error;
    });
    return open(path, "wx");
  }

  async #publish(temporary: string, target: string): Promise<void> {
    const folder = dirname(target);
    for (let attempt = 1; ; attempt += 1) {
      try {
        await mkdir(folder, { recursive: true });
        await this.#checkInside(folder);
        await publish(temporary, target).catch((error: unknown) => {
          throw codeOf(error) === "EEXIST" ? new BlobExists("A blob with this key exists") : error;
        });
        break;
      } catch (error) {
        if (VANISHED.includes(codeOf(error) ?? "") && attempt < PUBLISH_ATTEMPTS) continue;
        await removeEmptyFolders(folder, this.#folder);
        throw error;
      }
    }
    try {
      await syncFolders(folder, this.#folder);
    } catch (error) {
      await rm(target, { force: true });
      await removeEmptyFolders(folder, this.#folder);
      throw error;
    }
  }

  /** Opens a blob's file for reading; throws `BlobNotFound` for whatever is not a regular file inside the folder. */
  async #open(keyOrUrl: string): Promise<{ file: FileHandle; stats: BigIntStats }> {
    const path = this.#path(this.#keyOf(keyOrUrl));
    let file: FileHandle | undefined;
    try {
      file = await open(path, READ_FLAGS);
      const stats = await file.stat({ bigint: true });
      await this.#checkInside(dirname(path));
      if (!stats.isFile()) throw new BlobNotFound("No blob has this key");
      return { file, stats };
    } catch (error) {
      await file?.close();
      throw isAbsent(error) ? new BlobNotFound("No blob has this key", { cause: error }) : error;
    }
  }

  /** A symbolic link put into the folder must not lead out of it. */
  async #checkInside(folder: string): Promise<void> {
    const real = await realpath(folder);
    if (real !== this.#folder && !real.startsWith(this.#folder + sep)) {
      throw new InvalidBlobKey("This key's folder is a link out of the storage folder");
    }
  }
}
