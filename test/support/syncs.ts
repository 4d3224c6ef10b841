import fs, { type Stats } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { TestContext } from "node:test";

/** Tells of each file and folder that is synced from now on, before it is. */
export async function watchSyncs(
  t: TestContext,
  onSync: (synced: Stats) => unknown,
): Promise<void> {
  const probe = await open(".");
  const prototype: FileHandle = Object.getPrototypeOf(probe);
  await probe.close();
  const { sync } = prototype;
  t.mock.method(prototype, "sync", async function (this: FileHandle) {
    await onSync(await this.stat());
    await sync.call(this);
  });
  // What streams of files use.
  const { fsync } = fs;
  t.mock.method(fs, "fsync", (...[file, done]: Parameters<typeof fsync>) => {
    onSync(fs.fstatSync(file));
    fsync(file, done);
  });
}
