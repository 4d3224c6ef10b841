import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { embedded } from "./parts.ts";
import { killAtEachPoint, type OperationName, tell } from "./points-run.ts";
import { seedOfRun } from "./random.ts";
import { removeBuilt } from "./rig.ts";

after(removeBuilt);

/** Of each operation places at which it must have been killed, in their order. */
const KNOWN: Record<OperationName, RegExp> = {
  // The note of the blob, the blob, then all rows and the message in one commit.
  upload: /INSERT INTO Deletions,.*write of a piece,.*fsync,.*rename,.*sync,.*COMMIT/,
  // A power cut must not bring back bytes whose note is gone: the folder is on the disk first.
  delete: /COMMIT,.*\brm,.*\bsync,.*DELETE FROM Deletions/,
  rename: /COMMIT/,
  "password change": /COMMIT/,
};

describe("a kill before each effect loses nothing and leaves nothing", { concurrency: 2 }, () => {
  const groups: OperationName[][] = [["upload"], ["delete", "rename", "password change"]];
  for (const operations of groups) {
    test(operations.join(", "), async (t) => {
      const seed = seedOfRun();
      t.diagnostic(`FAULTS_SEED=${seed}`);
      const places = await killAtEachPoint(embedded, operations, "disk", seed);
      t.diagnostic(tell(places));
      for (const [name, killedAt] of places) assert.match(killedAt.join(), KNOWN[name]);
    });
  }
});
