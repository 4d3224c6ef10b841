import { after, test } from "node:test";
import { killUnderLoad } from "./kills.ts";
import { embedded } from "./parts.ts";
import { seedOfRun } from "./random.ts";
import { removeBuilt } from "./rig.ts";

after(removeBuilt);

const given = process.env.FAULTS_KILLS;
const kills = Number(given ?? 20);
/** Among other tests it may take longer than it must. */
const cleaning = given === undefined ? 60_000 : 30_000;

test(`${kills} kills at random under load lose nothing and leave nothing`, async (t) => {
  const seed = seedOfRun();
  t.diagnostic(`FAULTS_SEED=${seed}`);
  t.diagnostic(await killUnderLoad(embedded, { kills, seed, cleaning }));
});
