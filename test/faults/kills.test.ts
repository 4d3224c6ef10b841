import { after, test } from "node:test";
import { killUnderLoad } from "./kills.ts";
import { embedded } from "./parts.ts";
import { seedOfRun } from "./random.ts";
import { removeBuilt } from "./rig.ts";

after(removeBuilt);

const kills = Number(process.env.FAULTS_KILLS ?? 20);

test(`${kills} kills at random under load lose nothing and leave nothing`, async (t) => {
  const seed = seedOfRun();
  t.diagnostic(`FAULTS_SEED=${seed}`);
  t.diagnostic(await killUnderLoad(embedded, { kills, seed }));
});
