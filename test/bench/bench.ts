import { execFileSync, execSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { Bench } from "./contest.ts";
import { isPinned, killAll, LOAD_CORE } from "./programs.ts";
import { HEADING, type Judged, judge, type Line, lineText } from "./report.ts";
import { loginStorm, logins, refusedLogins } from "./rows/accounts.ts";
import { downloadLarge, downloadSmall, uploadLarge, uploadSmall } from "./rows/bytes.ts";
import { cluster, docsMe, root, usersMe } from "./rows/hot.ts";
import { lists, paths } from "./rows/lists.ts";
import { ocr } from "./rows/ocr.ts";
import { idleMemory, startTimes, statements } from "./rows/process.ts";
import { search } from "./rows/search.ts";
import { besideWorker } from "./rows/worker.ts";

/**
 * How fast the built server is: `npm run bench -- [quick] [row …] [--against <checkout>]`. Each row
 * measures it against node:http ("floor"), Fastify and the server of the other checkout, which is
 * the older one, in turn, in processes of their own, on a core of their own. The medians of the
 * rounds go to the terminal and to `results/`.
 */
const ROWS: Record<string, (bench: Bench) => Promise<void>> = {
  root,
  "users-me": usersMe,
  "docs-me": docsMe,
  lists,
  paths,
  "upload-large": uploadLarge,
  "upload-small": uploadSmall,
  "download-large": downloadLarge,
  "download-small": downloadSmall,
  "login-storm": loginStorm,
  logins,
  "refused-logins": refusedLogins,
  start: startTimes,
  memory: idleMemory,
  statements,
  cluster,
  search,
  ocr,
  "beside-worker": besideWorker,
};
/** What `quick` leaves out unless it is named. */
const LONG = ["refused-logins", "search", "ocr", "beside-worker"];
/** No row takes so long, in milliseconds. */
const ROW_LIMIT = 600_000;

const { values, positionals: words } = parseArgs({
  options: { against: { type: "string" } },
  allowPositionals: true,
});
const isQuick = words.includes("quick");
const named = words.filter((word) => word !== "quick");
const unknown = named.filter((name) => !(name in ROWS));
if (unknown.length > 0) {
  process.stderr.write(`No row ${unknown}; there are ${Object.keys(ROWS).join(", ")}.\n`);
  process.exit(2);
}
const ROOT = join(import.meta.dirname, "../..");
const mainOf = (checkout: string) => join(checkout, "dist/main.js");
const { against } = values;
const mains = { ...(against && { against: mainOf(resolve(against)) }), ours: mainOf(ROOT) };
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
const bench = isQuick
  ? { isQuick, mains, rounds: 3, seconds: 0.4, warmSeconds: 1 }
  : { isQuick, mains, rounds: 5, seconds: 2, warmSeconds: 5 };
const folder = mkdtempSync(join(tmpdir(), "nassaq-bench-"));
// What tests' helpers make is below it, too.
process.env.TMPDIR = folder;
process.once("exit", () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));

prepare();
const git = (command: string) => execSync(`git ${command}`, { encoding: "utf8" }).trim();
const began = new Date();
const results = {
  date: began.toISOString(),
  commit: git("rev-parse HEAD"),
  isChanged: git("status --porcelain") !== "",
  node: process.version,
  mode: isQuick ? "quick" : "full",
  machine: { processor: cpus()[0]?.model, cores: cpus().length, isPinned },
  seconds: 0,
  failures: {} as Record<string, string>,
  lines: [] as Judged[],
};
process.stdout.write(HEADING);
const usual = Object.keys(ROWS).filter((name) => !isQuick || !LONG.includes(name));
for (const name of named.length > 0 ? named : usual) await run(name);
const failed = Object.keys(results.failures).join(", ") || "none";
const missed = results.lines.filter(({ isMet }) => isMet === false).length;
process.stdout.write(
  `${missed} aims not met, rows without figures: ${failed}; ${results.seconds} s\n`,
);
process.exit();

/** Builds the servers, installs missing peers, and keeps off the servers' core. */
function prepare(): void {
  const quiet = { stdio: ["ignore", "ignore", "inherit"] as ["ignore", "ignore", "inherit"] };
  for (const main of Object.values(mains))
    execFileSync("npm", ["run", "build"], { ...quiet, cwd: join(main, "../..") });
  if (!existsSync(join(import.meta.dirname, "node_modules/fastify")))
    execFileSync("npm", ["ci"], { ...quiet, cwd: import.meta.dirname });
  if (isPinned) execFileSync("taskset", ["-a", "-p", "-c", LOAD_CORE, `${process.pid}`], quiet);
}

/** Runs a row in a folder of its own. One that fails is noted, and nothing of it stays. */
async function run(name: string): Promise<void> {
  const own = mkdtempSync(join(folder, "row-"));
  try {
    const work = ROWS[name]?.({ ...bench, folder: own, report });
    const late = sleep(ROW_LIMIT, "late", { ref: false });
    if ((await Promise.race([work, late])) === "late") throw new Error("not done in time");
  } catch (error) {
    results.failures[name] = error instanceof Error ? error.message : String(error);
    process.stdout.write(`${name}: no figure: ${results.failures[name]}\n`);
  } finally {
    await killAll();
    rmSync(own, { recursive: true, force: true, maxRetries: 5 });
  }
  // After each row, so that a run which is stopped has its figures.
  results.seconds = Math.round((Date.now() - began.getTime()) / 1000);
  const file = `${results.date.slice(0, 19).replaceAll(":", "-")}.json`;
  const target = join(import.meta.dirname, "results", file);
  writeFileSync(target, `${JSON.stringify(results, null, 2)}\n`);
}

function report(line: Line): void {
  const judged = judge(line);
  results.lines.push(judged);
  process.stdout.write(lineText(judged));
}
