import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { test } from "node:test";
import { compileServer } from "./support/server-process.ts";

/** The first Node on the PATH that is not this project's own. */
function machinesNode(): { path: string; version: string } | undefined {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    if (folder.includes("node_modules")) continue;
    const path = join(folder, "node");
    const { status, stdout } = spawnSync(path, ["--version"], { encoding: "utf8" });
    if (status === 0) return { path, version: stdout.trim().slice(1) };
  }
  return undefined;
}

const node = machinesNode();
const isOld = node !== undefined && Number.parseInt(node.version, 10) < 24;

test("on a Node that is too old each program says so in a line and ends with 78", {
  skip: isOld ? false : "the machine has no Node before 24",
}, async (t) => {
  const { path, version } = node as { path: string; version: string };
  const folder = await mkdtemp(join(tmpdir(), "old-node-"));
  t.after(() => rm(folder, { recursive: true }));
  const main = await compileServer(folder);
  for (const program of [main, join(main, "../worker/main.js"), join(main, "../cli/cli.js")]) {
    const { status, stdout, stderr } = spawnSync(path, [program, "migrate"], {
      cwd: folder,
      encoding: "utf8",
    });
    const line = `this server needs Node 24 or later; this is ${version}\n`;
    assert.deepEqual({ status, stdout, stderr }, { status: 78, stdout: "", stderr: line }, program);
  }
});
