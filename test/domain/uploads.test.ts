import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import { createOcrQueue } from "../../src/domain/ocr-queue.ts";
import { createUploads } from "../../src/domain/uploads.ts";
import { callerOf, coreOf } from "../support/core.ts";
import { inMemory } from "./session-support.ts";

test("what fails after the commit takes no blob away from its document", async (t) => {
  const { database, user } = await inMemory(t);
  const removed: unknown[] = [];
  const uploads = createUploads({
    ...coreOf(database),
    storage: {
      async upload(stream: Readable) {
        await stream.resume().toArray();
        return "http://storage/key";
      },
    } as never,
    deletions: { carryOut: async (deletion: unknown) => void removed.push(deletion) } as never,
    queue: createOcrQueue({
      backend: "ocr_api",
      name: "ocr_queue",
      notify() {
        throw new Error("the dispatcher is broken");
      },
    }),
  });
  const sent = { name: "a.txt", contentType: "text/plain", stream: Readable.from(["text"]) };
  const file = await uploads.receive(sent, "/");
  const caller = await callerOf(database, user.userId);
  const finished = uploads.finish(caller, file, { full_path: "/", description: null });
  await assert.rejects(finished, /the dispatcher is broken/);
  const documents = await database.all("SELECT filename FROM Documents");
  assert.equal(documents.length, 1);
  assert.deepEqual(removed, []);
});
