import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { consume, send, uploads } from "./uploads.ts";

/** Milliseconds in which what nothing holds must be collected. */
const LIMIT = 30_000;

test("nothing of an upload that was answered is kept", async (t) => {
  setFlagsFromString("--expose-gc");
  const gc: () => void = runInNewContext("gc");
  const streams: WeakRef<object>[] = [];
  const server = await uploads(t, {
    onFile: async ({ name, contentType, stream }) => {
      streams.push(new WeakRef(stream));
      return { name, contentType, before: {}, ...(await consume(stream)) };
    },
  });
  for (let count = 0; count < 20; count++) {
    const data = new FormData();
    data.set("file", new File(["bytes"], "name.txt"));
    assert.equal((await send(server, data)).status, 200);
  }
  const alive = () => streams.filter((stream) => stream.deref() !== undefined).length;
  const deadline = Date.now() + LIMIT;
  // A connection may still hold the last one that it carried.
  while (alive() > 4 && Date.now() < deadline) {
    await sleep(20);
    gc();
  }
  assert.ok(alive() <= 4, `${alive()} of ${streams.length} uploads are kept`);
});
