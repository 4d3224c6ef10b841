import { randomUUID } from "node:crypto";
import * as fs from "node:fs/promises";
import { join } from "node:path";

/** A folder that was not renewed for so long is a dead process's. Milliseconds. */
const LEASE = 20_000;

/** Larger than what a file system keeps beside a file's name. */
const SAMPLE = Buffer.alloc(4096);

/**
 * Files that are not whole yet, in one folder a process, whose time of modification says that the
 * process lives, by the file system's clock: machines that share one may differ.
 */
export class UnfinishedFiles {
  readonly #all: string;
  readonly #own: string;

  constructor(all: string) {
    this.#all = all;
    this.#own = join(all, randomUUID());
  }

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

  /** As `Storage.renew`. With `dryRun` writes nothing and goes by this machine's time. */
  async renew(dryRun: boolean): Promise<string[]> {
    // Empty: that works on many a disk that is full.
    if (!dryRun) await this.probe(Buffer.alloc(0));
    const now = dryRun ? Date.now() : (await fs.stat(this.#own)).mtimeMs;
    const files: string[] = [];
    for (const name of await fs.readdir(this.#all)) {
      const path = join(this.#all, name);
      const { mtimeMs } = await fs.stat(path).catch(() => ({ mtimeMs: now }));
      if (mtimeMs >= now - LEASE) continue;
      files.push(...(await fs.readdir(path).catch(() => [])));
      if (!dryRun) await fs.rm(path, { recursive: true, force: true });
    }
    return files;
  }

  async close(): Promise<void> {
    await fs.rm(this.#own, { recursive: true, force: true });
  }
}
