import assert from "node:assert/strict";
import { hash } from "node:crypto";
import { Agent, get } from "node:http";
import { buffer } from "node:stream/consumers";
import { after, test } from "node:test";
import { until } from "../support/wait.ts";
import { embedded } from "./parts.ts";
import { seeded } from "./random.ts";
import { assertNothingFound, Rig, removeBuilt } from "./rig.ts";
import { beginDownload, beginUpload, note } from "./slow.ts";

after(removeBuilt);

const MEGABYTE = 1024 * 1024;
const TEN = Array.from({ length: 10 }, (_, index) => index);

/** Stores a document that takes longer to read than sockets can hold. */
async function large(rig: Rig, token: string) {
  const noted = rig.ledger.begin(rig.ledger.newName(), seeded(3).bytes(16 * MEGABYTE), 1);
  // The same bytes as the record's, made again.
  const file = { name: "file", filename: noted.filename, data: seeded(3).bytes(16 * MEGABYTE) };
  note(noted, await rig.expect(201, "POST", "/docs/upload", token, { multipart: [file] }));
  return noted;
}

/** Asks for readiness on one connection that stays open. */
function readiness(rig: Rig) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const url = `${rig.server?.url}/ready`;
  const ask = () =>
    new Promise<number>((resolve, reject) => {
      get(url, { agent }, (response) => {
        response.resume().on("end", () => resolve(response.statusCode ?? 0));
      }).on("error", reject);
    });
  return { ask, close: () => agent.destroy() };
}

test("SIGTERM during ten slow uploads and ten downloads: all are whole, exit 0", async (t) => {
  const rig = await Rig.make(embedded, { env: { SHUTDOWN_TIMEOUT: "100" } });
  t.after(() => rig.close());
  const { lines, exit } = await rig.start();
  const token = await rig.admin();
  const document = await large(rig, token);
  const downloads = await Promise.all(TEN.map(() => beginDownload(rig, token, document.docId)));
  const data = TEN.map((index) => seeded(index).bytes(300_000));
  const uploads = await Promise.all(data.map((bytes) => beginUpload(rig, token, bytes)));
  const url = String(rig.server?.url);

  const stopped = rig.kill("SIGTERM");
  await until(() => lines.some(({ message }) => message === "stopping"), "the stop to begin");
  // A connection that it let in before is not kept: it answers 503, or takes none any more.
  const ready = await fetch(`${url}/ready`).then(
    ({ status }) => status,
    () => "refused",
  );
  assert.ok([503, "refused"].includes(ready), `/ready: ${ready}`);
  const read = downloads.map(async (response) => hash("sha256", await buffer(response)));
  const stored = uploads.map(async (upload) => (await upload.finish()).status);
  assert.deepEqual(
    await Promise.all(read),
    TEN.map(() => document.sha256),
  );
  assert.deepEqual(
    await Promise.all(stored),
    TEN.map(() => 201),
  );
  assert.deepEqual(await stopped, { code: 0, signal: null });
  await exit;
  await rig.start();
  assertNothingFound(await rig.findings(), "after the stop");
});

test("at the time-out of a stop nothing of ten uploads and ten downloads is left", async (t) => {
  const rig = await Rig.make(embedded, { env: { SHUTDOWN_TIMEOUT: "2" } });
  t.after(() => rig.close());
  await rig.start();
  const token = await rig.admin();
  const document = await large(rig, token);
  const { ask, close } = readiness(rig);
  t.after(close);
  assert.equal(await ask(), 200);
  const downloads = await Promise.all(TEN.map(() => beginDownload(rig, token, document.docId)));
  const bytes = seeded(4).bytes(300_000);
  const uploads = await Promise.all(TEN.map(() => beginUpload(rig, token, bytes)));

  const since = performance.now();
  const { code } = await rig.kill("SIGTERM");
  const took = performance.now() - since;
  for (const response of downloads) response.destroy();
  for (const { request } of uploads) request.destroy();
  t.diagnostic(`the stop took ${(took / 1000).toFixed(1)} s`);
  assert.equal(code, 0);
  assert.ok(took < 3_000 + 1_000, `the stop took ${took} ms of 2 s, and one`);
  assertNothingFound(await rig.findings(0), "after the stop, nothing started again");
});
