import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { connect } from "node:net";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { multipartBody } from "../support/client.ts";
import { until } from "../support/wait.ts";
import { embedded } from "./parts.ts";
import { seeded } from "./random.ts";
import { assertNothingFound, Rig, removeBuilt } from "./rig.ts";
import { beginDownload, beginUpload, note } from "./slow.ts";

after(removeBuilt);

const random = seeded(41);
/** Milliseconds without a byte after which a body is given up, and time to do it in. */
const IDLE_LIMIT = 30_000;
const SLACK = 30_000;

test("clients that vanish, half-close or stall leave nothing and hold nothing", async (t) => {
  const rig = await Rig.make(embedded);
  t.after(() => rig.close());
  const { pid } = await rig.start();
  const token = await rig.admin();
  const data = random.bytes(8_000_000);
  const large = rig.ledger.begin(rig.ledger.newName(), data, 1);
  const multipart = [{ name: "file", filename: large.filename, data }];
  note(large, await rig.expect(201, "POST", "/docs/upload", token, { multipart }));
  const descriptors = () => readdir(`/proc/${pid}/fd`).then(({ length }) => length);
  const before = process.platform === "linux" ? await descriptors() : 0;

  const stalled = await beginUpload(rig, token, random.bytes(100_000));
  const since = performance.now();

  for (let count = 0; count < 10; count++) {
    const { noted, request } = await beginUpload(rig, token, random.bytes(400_000));
    noted.stored = "no";
    request.socket?.resetAndDestroy();
    const download = await beginDownload(rig, token, large.docId);
    if (count % 2) download.read(1);
    download.socket.resetAndDestroy();
  }
  await halfClose(rig, token, 0.5);
  await halfClose(rig, token, 1);

  // One of them stalls still: the server gives it up.
  const { status } = await stalled.answer.catch(() => ({ status: 408 }));
  stalled.noted.stored = "no";
  stalled.request.destroy();
  const took = performance.now() - since;
  assert.equal(status, 408);
  assert.ok(took > IDLE_LIMIT - 1_000 && took < IDLE_LIMIT + SLACK, `given up after ${took} ms`);
  assertNothingFound(await rig.findings(), "after all clients are gone");
  if (process.platform === "linux")
    await until(async () => (await descriptors()) <= before, "descriptors to be closed", SLACK);
});

/** Sends a share of an upload and then ends its half of the connection; the other half stays. */
async function halfClose(rig: Rig, token: string, share: number): Promise<void> {
  const data = random.bytes(50_000);
  const noted = rig.ledger.begin(rig.ledger.newName(), data, 1);
  const { type, body } = multipartBody([{ name: "file", filename: noted.filename, data }]);
  const { hostname, port } = new URL(String(rig.server?.url));
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
  const pieces: Buffer[] = [];
  socket.on("data", (piece) => pieces.push(piece)).on("error", () => {});
  const head = [
    "POST /api/v1/docs/upload HTTP/1.1",
    `Host: ${hostname}`,
    `Authorization: Bearer ${token}`,
    `Content-Type: ${type}`,
    `Content-Length: ${body.length}`,
  ];
  socket.write(`${head.join("\r\n")}\r\n\r\n`);
  socket.end(body.subarray(0, Math.floor(body.length * share)));
  const ended = new Promise((resolve) => socket.once("close", resolve));
  await Promise.race([ended, sleep(SLACK)]);
  socket.destroy();
  const [top = "", ...rest] = Buffer.concat(pieces).toString().split("\r\n");
  const status = Number(top.split(" ")[1]);
  if (share < 1) noted.stored = "no";
  // node:http takes the end of one half for a client that is gone, unless it has answered before.
  assert.ok(Number.isNaN(status) || status === (share < 1 ? 400 : 201), top);
  if (status === 201)
    Object.assign(noted, { stored: "yes", docId: JSON.parse(rest.at(-1) ?? "").doc_id });
}
