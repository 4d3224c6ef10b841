import assert from "node:assert/strict";
import { rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, before, describe, test } from "node:test";
import { look } from "./checker.ts";
import type { FaultProxy } from "./fault-proxy.ts";
import { embedded, openRemote, type Parts } from "./parts.ts";
import { seeded } from "./random.ts";
import { assertNothingFound, Rig, removeBuilt } from "./rig.ts";
import { beginUpload, note } from "./slow.ts";

after(removeBuilt);

const random = seeded(12);
const bytes = () => random.bytes(200_000);

const ROWS: [fault: string, row: (rig: Rig, parts: Parts) => Promise<void>][] = [
  ["client goes away mid-upload: no row, no blob, no temporary file", clientGoesAway],
  ["two uploads race: one 201, one 409, the winner's bytes whole, the loser's gone", race],
  ["broker down: 201, the message is sent when it is back", brokerDown],
];

/** What these leave is cleaned up when a lease ends, 20 s later: it is waited for once. */
const LATE_ROWS: typeof ROWS = [
  ["storage down: 500, no row", storageDown],
  ["database down before the commit: 503 with Retry-After, no blob in the end", databaseDown],
  ["process killed: what was committed is whole, the rest gone after the restart", killed],
];

describe("each fault of the table in behaviour.md", { concurrency: 2 }, async () => {
  const inTurn = { concurrency: 1 };
  describe("on embedded parts", inTurn, () => onParts(async () => embedded));
  let remote: ReturnType<typeof openRemote> | undefined;
  describe("on Azurite and RabbitMQ", inTurn, () =>
    onParts(() => {
      remote = openRemote();
      return remote;
    }),
  );
  after(async () => {
    const parts = await remote;
    if (parts && "close" in parts) await parts.close();
  });
});

function onParts(open: () => Promise<Parts | { skip: string }>): void {
  let parts: Parts | { skip: string };
  let rig: Rig;
  before(async () => {
    parts = await open();
    if ("skip" in parts) return;
    rig = await Rig.make(parts);
    await rig.start();
  });
  after(() => rig?.close());
  const onRig = (title: string, work: (rig: Rig, parts: Parts) => Promise<void>) =>
    test(title, async (t) => {
      if ("skip" in parts) return t.skip(parts.skip);
      await work(rig, parts);
    });
  for (const [title, row] of ROWS) {
    onRig(title, async (...subject) => {
      await row(...subject);
      assertNothingFound(await rig.findings(), title);
    });
  }
  for (const [title, row] of LATE_ROWS) onRig(title, row);
  onRig("after the last three everything is whole, and nothing is left", async () =>
    assertNothingFound(await rig.findings(), "in the end"),
  );
}

/** Uploads a new document into the root; its record says what the answer was. */
async function upload(rig: Rig) {
  const data = bytes();
  const noted = rig.ledger.begin(rig.ledger.newName(), data, 1);
  const multipart = [{ name: "file", filename: noted.filename, data }];
  const answer = await rig.call("POST", "/docs/upload", await rig.admin(), { multipart });
  note(noted, answer);
  return answer;
}

async function clientGoesAway(rig: Rig): Promise<void> {
  const { noted, request } = await beginUpload(rig, await rig.admin(), bytes());
  request.destroy();
  noted.stored = "no";
}

async function storageDown(rig: Rig, { storage }: Parts): Promise<void> {
  const heal = storage ? breakLine(storage) : await replaceFolder(join(rig.folder, "blobs"));
  const { status, body } = await upload(rig);
  await heal();
  assert.deepEqual([status, body], [500, { detail: "Storage upload failed" }]);
  assert.equal((await upload(rig)).status, 201, "it did not heal");
}

function breakLine(line: FaultProxy) {
  line.line = "down";
  line.cut();
  return async () => {
    line.line = "whole";
  };
}

/** Puts a file where the folder of the blobs was. */
async function replaceFolder(folder: string) {
  await rename(folder, `${folder}.away`);
  await writeFile(folder, "");
  return async () => {
    await rm(folder);
    await rename(`${folder}.away`, folder);
  };
}

async function race(rig: Rig): Promise<void> {
  const token = await rig.admin();
  const name = rig.ledger.newName();
  const racers = [];
  for (const data of [bytes(), bytes()]) racers.push(await beginUpload(rig, token, data, name));
  const statuses = await Promise.all(racers.map(async (one) => (await one.finish()).status));
  assert.deepEqual(statuses.toSorted(), [201, 409]);
  // The record has one document a name: the winner's.
  const winner = racers[statuses.indexOf(201)];
  assert.ok(winner);
  rig.ledger.uploads.set(name, winner.noted);
}

async function brokerDown(rig: Rig, { broker }: Parts): Promise<void> {
  // The embedded queue is a table of the database: it is down with it.
  if (!broker) return;
  const heal = breakLine(broker);
  const before = (await rig.stores.messages()).length;
  for (let count = 0; count < 3; count++) assert.equal((await upload(rig)).status, 201);
  const seen = await look(rig.folder, rig.stores);
  assert.deepEqual([seen.outbox.length, seen.queue.length], [3, before]);
  await heal();
}

/** Another process holds the lock of the database file for longer than the server waits. */
async function databaseDown(rig: Rig): Promise<void> {
  const begun = await beginUpload(rig, await rig.admin(), bytes());
  const database = new DatabaseSync(join(rig.folder, "nassaq.db"), { timeout: 10_000 });
  database.exec("BEGIN IMMEDIATE");
  const { status, headers } = await begun.finish();
  database.exec("ROLLBACK");
  database.close();
  assert.equal(status, 503);
  assert.match(String(headers.get("retry-after")), /^[1-9]\d*$/);
  begun.noted.stored = "no";
}

async function killed(rig: Rig): Promise<void> {
  const token = await rig.admin();
  for (let count = 0; count < 3; count++) await beginUpload(rig, token, bytes());
  for (let count = 0; count < 3; count++) assert.equal((await upload(rig)).status, 201);
  await rig.kill();
  await rig.start();
}
