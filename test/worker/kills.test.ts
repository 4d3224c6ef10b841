import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { EmbeddedContentStore } from "../../src/content/embedded.ts";
import { openSqlite } from "../../src/data/sqlite.ts";
import { spawnServer, startServer } from "../support/server-process.ts";
import { until } from "../support/wait.ts";
import { ENV, signIn, temporaryFolder } from "./support.ts";

/** How often workers are killed in each test, over as many documents; `TEST_KILLS=100` for the long run. */
const KILLS = Number(process.env.TEST_KILLS ?? 8);
const WORKER = join(import.meta.dirname, "../../src/worker/main.ts");
const SCAN = readFileSync(join(import.meta.dirname, "../samples/letter-scan.png"));

const count = async (rows: Promise<unknown[]>) => (await rows).length;

async function endure(t: TestContext, workers: number): Promise<void> {
  const folder = await temporaryFolder(t);
  const server = await startServer(folder, ENV);
  t.after(() => server.kill("SIGKILL"));
  const { upload } = await signIn(server);
  /** What documents must become; empty for a scan. */
  const texts = new Map<number, string>();
  const database = openSqlite({ file: join(folder, "nassaq.db") });
  t.after(() => database.close());

  let begun = 0;
  let killed = 0;
  let hits = 0;
  /** Those that were seen before, whose workers are dead. */
  const leases = new Set<string>();
  const newLeases = async () => {
    const sql = "SELECT lease FROM Broker_Messages WHERE lease IS NOT NULL";
    const now = await database.all<{ lease: string }>(sql);
    return now.map(({ lease }) => lease).filter((lease) => !leases.has(lease));
  };
  let isOver = false;
  const running = new Set<ChildProcess>();
  const ends: unknown[] = [];
  let complaints = "";

  /** One worker after the other: each gets a document and is killed, until there were enough. */
  async function keepWorking(): Promise<void> {
    while (!isOver) {
      const child = spawnServer(folder, ENV, WORKER);
      assert.ok(child.stdout && child.stderr);
      child.stderr.on("data", (data) => {
        complaints += data;
      });
      const ended = once(child, "exit");
      const isReady = once(createInterface({ input: child.stdout }), "line");
      running.add(child);
      if (begun < KILLS) {
        const index = begun++;
        const text = index % 4 === 1 ? "" : `document ${index}: ${randomUUID()}`;
        if (text) texts.set(await upload(`${index}.txt`, text), text);
        else texts.set(await upload(`${index}.png`, SCAN), text);
        // One in eight does not even start.
        await (Math.random() < 1 / 8 ? sleep(Math.random() * 500) : Promise.race([isReady, ended]));
        // Every second one soon after a document was taken: scans are among these.
        const isTaken = async () => (await newLeases()).length > 0;
        if (index % 2 === 1) await until(isTaken, "a document to be taken", 30_000).catch(() => {});
        await sleep(Math.random() * (index % 2 === 1 ? 300 : 4_000));
        const taken = await newLeases();
        if (taken.length > 0) hits += 1;
        for (const lease of taken) leases.add(lease);
        child.kill("SIGKILL");
        killed += 1;
      }
      const [code, signal] = await ended;
      running.delete(child);
      // By a signal: also one that was told to end before it heard of it.
      if (signal === null) ends.push(code);
    }
  }

  const working = Array.from({ length: workers }, keepWorking);
  const finished = () =>
    count(database.all("SELECT doc_id FROM Processing_Status WHERE status = 'Finished'"));
  const all = async () => {
    await sleep(100);
    return killed === KILLS && (await finished()) === KILLS;
  };
  await until(all, "every document to be finished", KILLS * 120_000);
  isOver = true;
  for (const child of running) child.kill("SIGTERM");
  await Promise.all(working);
  t.diagnostic(`${hits} of ${KILLS} kills hit a worker at a document`);

  const content = new EmbeddedContentStore(database);
  for (const [docId, text] of texts) {
    const extracted = (await content.get(docId))?.extracted_text ?? "";
    if (text) assert.equal(extracted, text);
    else assert.match(extracted, /\p{Script=Arabic}{3}/u);
    const results = database.all("SELECT doc_id FROM Ocr_Results WHERE doc_id = @docId", { docId });
    assert.equal(await count(results), 1, `results of document ${docId}`);
  }
  assert.deepEqual(await database.all("SELECT queue, reason FROM Broker_Messages"), []);
  assert.ok(hits > 0, "no kill hit a worker at a document");
  assert.deepEqual(
    ends,
    Array.from(ends, () => 0),
    complaints,
  );
}

for (const workers of [1, 2])
  test(`killed at random ${KILLS} times, ${workers} at work: each document is finished once`, (t) =>
    endure(t, workers));
