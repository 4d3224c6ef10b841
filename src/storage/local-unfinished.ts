import { randomUUID } from "node:crypto";
import * as fs from "node:fs/promises";
import { join } from "node:path";

/** The folder of all. No path of a key begins so. */
const FOLDER = ".unfinished";

/** A folder that was not renewed for so long is a dead process's. Milliseconds. */
const LEASE = 20_000;

/** Larger than what a file system keeps beside a file's name. */
const SAMPLE = Buffer.alloc(4096);

/**
 * Files that are not whole yet, in one folder a process, whose time of modification says that the
 * process lives. It is the file system's time: machines that share one may differ in theirs.
 */
export class UnfinishedFiles {
  readonly #all: string;
  readonly #own: string;

  private constructor(all: string) {
    this.#all = all;
    this.#own = join(all, randomUUID());
  }

  /** Makes `root` where it is missing. */
  static async open(root: string): Promise<UnfinishedFiles> {
    const all = join(root, FOLDER);
    await fs.mkdir(all, { recursive: true, mode: 0o700 });
    return new UnfinishedFiles(all);
  }

  /** A path for a new file. */
  async newFile(): Promise<string> {
    await fs.mkdir(this.#own, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
    return join(this.#own, `${randomUUID()}.part`);
  }

  /** Writes a file and removes it. Throws when that can't be done, as on a full disk. */
  async probe(content = SAMPLE): Promise<void> {
    const path = `${await this.newFile()}.probe`;
    try {
      await fs.writeFile(path, content, { flag: "wx" });
    } finally {
      await fs.rm(path, { force: true });
    }
  }

  /** Renews this process's folder, and removes those whose lease has ended. */
  async renew(): Promise<void> {
    for (const path of await this.#ended()) await fs.rm(path, { recursive: true, force: true });
  }

  /** The files in folders whose lease has ended. */
  async abandoned(): Promise<string[]> {
    const folders = await this.#ended();
    const files = await Promise.all(folders.map((folder) => fs.readdir(folder).catch(() => [])));
    return files.flat();
  }

  /** Folders whose lease has ended. Renews this process's own, which tells the time. */
  async #ended(): Promise<string[]> {
    // Empty: that works on many a disk that is full.
    await this.probe(Buffer.alloc(0));
    const { mtimeMs: now } = await fs.stat(this.#own);
    const ended: string[] = [];
    for (const name of await fs.readdir(this.#all)) {
      const path = join(this.#all, name);
      const { mtimeMs } = await fs.stat(path).catch(() => ({ mtimeMs: now }));
      if (mtimeMs < now - LEASE) ended.push(path);
    }
    return ended;
  }

  /** Removes this process's folder. */
  async close(): Promise<void> {
    await fs.rm(this.#own, { recursive: true, force: true });
  }
}
