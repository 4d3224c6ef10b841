import assert from "node:assert/strict";
import { mkdir, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, test } from "node:test";
import type { Upload } from "./ledger.ts";
import { createClient, OPERATIONS } from "./load.ts";
import { embedded } from "./parts.ts";
import { seeded } from "./random.ts";
import { Rig, removeBuilt } from "./rig.ts";

after(removeBuilt);

test("the checker finds each kind of damage, and nothing where there is none", async (t) => {
  const rig = await Rig.make(embedded);
  t.after(() => rig.close());
  await rig.start();
  const client = await createClient(rig, "c1", seeded(1));
  for (let count = 0; count < 8; count++) await OPERATIONS.upload.act(rig, client);
  await OPERATIONS.rename.act(rig, client);
  await OPERATIONS["password change"].act(rig, client);
  await OPERATIONS.delete.act(rig, client);
  assert.deepEqual(await rig.findings(), []);
  await rig.kill("SIGTERM");
  assert.deepEqual(await rig.findings(0), [], "after a stop");

  const damage = (sql: string) => {
    const database = new DatabaseSync(join(rig.folder, "nassaq.db"));
    database.exec("PRAGMA foreign_keys = OFF");
    database.exec(sql);
    database.close();
  };
  const keyOf = ({ url }: Upload) => decodeURIComponent(String(url).slice("file:///blobs/".length));
  const fileOf = (upload: Upload) => join(rig.folder, "blobs", keyOf(upload).replace("/", "%~"));
  const [lost, ghost, orphan, cut, wrong, silent, again] = rig.ledger.present();
  assert.ok(lost && ghost && orphan && cut && wrong && silent && again);

  for (const table of ["Processing_Status", "Documents"])
    damage(`DELETE FROM ${table} WHERE doc_id = ${lost.docId}`);
  ghost.stored = "no";
  await rm(fileOf(orphan));
  await truncate(fileOf(cut), cut.size - 1);
  await writeFile(fileOf(wrong), Buffer.alloc(wrong.size));
  damage(`DELETE FROM Broker_Messages WHERE body LIKE '%"doc_id":${silent.docId},%'`);
  damage(`UPDATE Processing_Status SET status = 'Failed' WHERE doc_id = ${again.docId}`);
  await mkdir(join(rig.folder, "blobs", ".unfinished"), { recursive: true });
  await writeFile(join(rig.folder, "blobs", ".unfinished", "left"), "x");
  await mkdir(join(rig.folder, "blobs", "empty"));
  damage("UPDATE Virtual_Paths SET full_path = 'elsewhere' WHERE depth = 3");
  client.account.passwords = new Set(["An0ther one!"]);
  damage("INSERT INTO Deletions (blob_key, due_at) VALUES ('noted', '2999-01-01T00:00:00.000Z')");
  damage(`INSERT INTO Outbox (queue, message_id, body, created_at, attempts) VALUES ('q', 'm',
    '{"doc_id":999,"file_path":"x","filename":"of nothing","user_id":1}', '2020', 0)`);

  const found = (await rig.findings(0)).join("\n");
  for (const expected of [
    `lost document: ${lost.filename}`,
    `ghost message: ${lost.filename}`,
    `blob without row or note: ${keyOf(lost)}`,
    `ghost row of a refused upload: ${ghost.filename}`,
    `orphan row, without blob: ${orphan.filename}`,
    `wrong size, ${cut.size - 1} for ${cut.size}: ${cut.filename}`,
    `wrong bytes: ${wrong.filename}`,
    `missing message: ${silent.filename}`,
    `0 queued stages: ${again.filename}`,
    "temporary file .unfinished/left",
    "empty folder empty",
    "paths are tree-c1-",
    `a password neither old nor new: ${client.account.email}`,
    "noted deletion: noted",
    "message not sent (claimed by null): ",
    "ghost message: of nothing",
  ])
    assert.ok(found.includes(expected), `${expected} is not among:\n${found}`);
});
