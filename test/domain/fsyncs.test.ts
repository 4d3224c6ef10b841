import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync, StatementSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import { startTestApp, trailSealed } from "../support/app.ts";
import { watchSyncs } from "../support/syncs.ts";

/** Names what is synced from now on: `file`, or the tables that a durable commit writes. */
async function watchDisk(t: TestContext): Promise<string[]> {
  const synced: string[] = [];
  await watchSyncs(t, (stats) => synced.push(stats.isFile() ? "file" : "folder"));

  let isDurable = true;
  let written: string[] | undefined;
  const statement = (sql: string) => {
    const setting = /^PRAGMA synchronous = (\w+)/.exec(sql)?.[1];
    if (setting) isDurable = setting === "FULL";
    const table = /^\s*(?:INSERT INTO|UPDATE|DELETE FROM) (\w+)/.exec(sql)?.[1];
    if (/^BEGIN/.test(sql)) written = [];
    else if (table && written) written.push(table);
    else if (table && isDurable) synced.push(`commit of ${table}`);
    if (!/^(COMMIT|ROLLBACK)/.test(sql)) return;
    if (isDurable && sql === "COMMIT") synced.push(`commit of ${written?.join()}`);
    written = undefined;
  };
  const { exec } = DatabaseSync.prototype;
  t.mock.method(DatabaseSync.prototype, "exec", function (this: DatabaseSync, sql: string) {
    statement(sql);
    return exec.call(this, sql);
  });
  for (const name of ["run", "all", "get"] as const) {
    const original = StatementSync.prototype[name] as (...args: unknown[]) => never;
    t.mock.method(
      StatementSync.prototype,
      name,
      function (this: StatementSync, ...args: unknown[]) {
        statement(this.sourceSQL);
        return original.apply(this, args);
      },
    );
  }
  return synced;
}

test("an upload waits for three fsyncs, a download for one", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "nassaq-fsyncs-"));
  t.after(() => rm(folder, { recursive: true }));
  const app = await startTestApp({ folder });
  t.after(() => app.close());
  await app.as("user");
  await trailSealed(app);
  const all = await watchDisk(t);
  // The server seals its audit trail when it likes.
  const taken = () => all.splice(0).filter((what) => !/Audit_Heads/.test(what));

  const multipart = [{ name: "file", filename: "a.txt", data: Buffer.from("text") }];
  const upload = await app.call("POST", "/api/v1/docs/upload", { as: "user", multipart });
  assert.equal(upload.status, 201);
  assert.deepEqual(taken(), [
    "file",
    "folder",
    "commit of Deletions,Documents,Processing_Status,Broker_Messages,Logs",
  ]);
  const target = `/api/v1/docs/${upload.body.doc_id}/download`;
  assert.equal((await app.call("GET", target, { as: "user" })).status, 200);
  assert.deepEqual(taken(), ["commit of Logs"]);
});
