import { link as hardLink, open, readdir, rename, rm, rmdir, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";

/** What link(2) says where the file system has no hard links (FAT, exFAT, some network and FUSE file systems). */
const NO_HARD_LINKS: readonly string[] = [
  "EPERM",
  "ENOTSUP",
  "EOPNOTSUPP",
  "ENOSYS",
  "EXDEV",
  "EACCES",
];

/** What opening or syncing a directory says where that does not exist; ENOENT: the blob is gone again already. */
const NO_DIRECTORY_SYNC: readonly string[] = [
  "EINVAL",
  "ENOTSUP",
  "EOPNOTSUPP",
  "EISDIR",
  "EPERM",
  "ENOENT",
];

/** Milliseconds. An upload writes at least every few seconds, so a file untouched this long was left by a crash. */
export const STALE_AFTER = 60 * 60 * 1000;

/** The machine code of a system error (`ENOENT`), or undefined. */
export function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : undefined;
}

/**
 * Moves the finished file to `target`, atomically, and throws `EEXIST` rather than overwrite. rename(2) would overwrite, link(2)
 * does not. Without hard links the name is claimed with an empty file first, which a reader may see for an instant.
 */
export async function publish(temporary: string, target: string, link = hardLink): Promise<void> {
  try {
    await link(temporary, target);
  } catch (error) {
    if (!NO_HARD_LINKS.includes(codeOf(error) ?? "")) throw error;
    await (await open(target, "wx")).close();
    try {
      await rename(temporary, target);
    } catch (failure) {
      await unlink(target);
      throw failure;
    }
    return;
  }
  await unlink(temporary);
}

/** Makes the entries of `folder` and of every folder above it, up to `root`, survive a power cut. */
export async function syncFolders(folder: string, root: string): Promise<void> {
  for (let current = folder; ; current = dirname(current)) {
    try {
      const handle = await open(current, "r");
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    } catch (error) {
      if (!NO_DIRECTORY_SYNC.includes(codeOf(error) ?? "")) throw error;
    }
    if (current === root) return;
  }
}

/** Removes `folder` and the folders above it, below `root`, as far as they are empty. */
export async function removeEmptyFolders(folder: string, root: string): Promise<void> {
  for (let current = folder; current !== root; current = dirname(current)) {
    try {
      await rmdir(current);
    } catch (error) {
      if (codeOf(error) !== "ENOENT") return;
    }
  }
}

/** Removes the temporary files of uploads that a crash cut off. */
export async function removeStaleFiles(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const found = await stat(path).catch(() => undefined);
    if (found?.isFile() && found.mtimeMs < Date.now() - STALE_AFTER)
      await rm(path, { force: true });
  }
}

/** Paths of all regular files below `folder`. Symbolic links and names with a leading dot are passed over. */
export async function* walk(folder: string): AsyncGenerator<string> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return [];
    throw error;
  });
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.name.startsWith(".")) continue;
    if (entry.isFile()) yield path;
    else if (entry.isDirectory()) yield* walk(path);
  }
}
