import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { OPERATIONS, type Operation } from "./load.ts";
import { embedded } from "./parts.ts";
import { killAtEachPoint } from "./points-run.ts";
import { seedOfRun } from "./random.ts";
import { removeBuilt } from "./rig.ts";

after(removeBuilt);

/** Of each operation some places at which it must have been killed. */
const KNOWN: Record<keyof typeof OPERATIONS, string[]> = {
  upload: ["INSERT INTO Deletions", "write of a piece", "rename", "sync", "COMMIT"],
  delete: ["COMMIT", "rm", "rmdir", "DELETE FROM Deletions"],
  rename: ["COMMIT"],
  "password change": ["COMMIT"],
};

describe("a kill before each effect loses nothing and leaves nothing", { concurrency: 2 }, () => {
  for (const [name, operation] of Object.entries(OPERATIONS))
    test(`one ${name}`, async (t) => {
      const seed = seedOfRun();
      t.diagnostic(`FAULTS_SEED=${seed}`);
      const places = await killAtEachPoint(embedded, operation as Operation, "disk", seed);
      t.diagnostic(`${name}: killed at ${places.length} points: ${places.join(", ")}`);
      for (const place of KNOWN[name as keyof typeof OPERATIONS])
        assert.ok(places.includes(place), `not killed at ${place}: ${places}`);
      // A power cut must not bring back bytes whose note is gone: the folder is on the disk first.
      if (name === "delete")
        assert.match(places.join(), /\brm,.*\bsync,.*DELETE FROM Deletions/, places.join());
    });
});
