import assert from "node:assert/strict";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { enginesInstalled } from "../../src/worker/engines.ts";

test("it is known whether the engines are installed", async (context) => {
  assert.equal(enginesInstalled(), true);
  const elsewhere = await mkdtemp(join(tmpdir(), "engines-"));
  context.after(() => rm(elsewhere, { recursive: true }));
  const copy = join(elsewhere, "engines.mts");
  await copyFile(fileURLToPath(new URL("../../src/worker/engines.ts", import.meta.url)), copy);
  const there = (await import(pathToFileURL(copy).href)) as { enginesInstalled(): boolean };
  assert.equal(there.enginesInstalled(), false);
});
