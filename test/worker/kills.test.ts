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
  const texts = new Map<number, string>();
  for (let index = 1; index < KILLS; index++) {
    const text = `document ${index}: ${randomUUID()}`;
    texts.set(await upload(`${index}.txt`, text), text);
    if (index === KILLS >> 1) texts.set(await upload("scan.png", SCAN), "");
  }
  const database = openSqlite({ file: join(folder, "nassaq.db") });
  t.after(() => database.close());

  let killsLeft = KILLS;
  let hits = 0;
  let isOver = false;
  const running = new Set<ChildProcess>();
  const ends: unknown[] = [];
  let complaints = "";

  /** One worker after the other: each is killed after some time, until there were enough kills. */
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
      if (killsLeft > 0) {
        killsLeft -= 1;
        // One in eight does not even start.
        await (Math.random() < 1 / 8 ? sleep(Math.random() * 500) : Promise.race([isReady, ended]));
        await sleep(Math.random() * 4_000);
        const leased =
          "SELECT lease FROM Broker_Messages WHERE lease IS NOT NULL AND visible_at > @now";
        if ((await count(database.all(leased, { now: new Date() }))) > 0) hits += 1;
        child.kill("SIGKILL");
      }
      const [code, signal] = await ended;
      running.delete(child);
      if (signal !== "SIGKILL") ends.push(code);
    }
  }

  const working = Array.from({ length: workers }, keepWorking);
  const finished = () =>
    count(database.all("SELECT doc_id FROM Processing_Status WHERE status = 'Finished'"));
  const all = async () => {
    await sleep(100);
    return killsLeft === 0 && (await finished()) === texts.size;
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
