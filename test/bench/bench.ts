import { execFileSync, execSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { isPinned, killAll, LOAD_CORE } from "./programs.ts";
import { HEADING, type Judged, judge, type Line, lineText } from "./report.ts";
import { loginStorm, logins, refusedLogins } from "./rows/accounts.ts";
import { downloadLarge, downloadSmall, uploadLarge, uploadSmall } from "./rows/bytes.ts";
import { cluster, docsMe, root, usersMe } from "./rows/hot.ts";
import { lists, paths } from "./rows/lists.ts";
import { besideWorker, idleMemory, startTimes } from "./rows/process.ts";
import { statements } from "./rows/statements.ts";
import type { Bench } from "./server.ts";

/**
 * How fast the built server is: `npm run bench [quick] [row …]`. Each row measures it against
 * node:http ("floor") and Fastify in turn, in processes of their own, on a core of their own. The
 * medians of the rounds go to the terminal and to `results/`.
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
  worker: besideWorker,
};
/** What `quick` leaves out unless it is named. */
const LONG = ["refused-logins", "worker"];
/** No row takes so long, in milliseconds. */
const ROW_LIMIT = 300_000;

const words = process.argv.slice(2);
const isQuick = words.includes("quick");
const named = words.filter((word) => word !== "quick");
const unknown = named.filter((name) => !(name in ROWS));
if (unknown.length > 0) {
  process.stderr.write(
    `No row ${unknown.join(", ")}; there are ${Object.keys(ROWS).join(", ")}.\n`,
  );
  process.exit(2);
}
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
const bench = isQuick
  ? { isQuick, rounds: 3, seconds: 0.6, warmSeconds: 2.5 }
  : { isQuick, rounds: 5, seconds: 2, warmSeconds: 5 };
const folder = mkdtempSync(join(tmpdir(), "nassaq-bench-"));
// What tests' helpers make is below it, too.
process.env.TMPDIR = folder;
process.once("exit", () => {
  void killAll();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

prepare();
const git = (command: string) => execSync(`git ${command}`, { encoding: "utf8" }).trim();
const began = new Date();
const results = {
  date: began.toISOString(),
  commit: git("rev-parse HEAD"),
  isChanged: git("status --porcelain") !== "",
  node: process.version,
  mode: isQuick ? "quick" : "full",
  machine: {
    processor: cpus()[0]?.model,
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 1024 ** 3),
    isPinned,
  },
  seconds: 0,
  failures: {} as Record<string, string>,
  lines: [] as Judged[],
};
process.stdout.write(HEADING);
const usual = Object.keys(ROWS).filter((name) => !isQuick || !LONG.includes(name));
for (const name of named.length > 0 ? named : usual) await run(name);
const failed = Object.keys(results.failures);
const missed = results.lines.filter(({ isMet }) => isMet === false).length;
process.stdout.write(
  `${missed} aims not met, rows without figures: ${failed.join(", ") || "none"}; ` +
    `${results.seconds} s\n`,
);
process.exit();

/** Builds the server, installs the peers where they are missing, and keeps off the servers' core. */
function prepare(): void {
  const quiet = { stdio: ["ignore", "ignore", "inherit"] as ["ignore", "ignore", "inherit"] };
  execFileSync("npm", ["run", "build"], { ...quiet, cwd: join(import.meta.dirname, "../..") });
  if (!existsSync(join(import.meta.dirname, "node_modules/fastify")))
    execFileSync("npm", ["ci"], { ...quiet, cwd: import.meta.dirname });
  if (isPinned) execFileSync("taskset", ["-a", "-p", "-c", LOAD_CORE, `${process.pid}`], quiet);
}

/** Runs a row in a folder of its own. One that fails is noted, and nothing of it stays. */
async function run(name: string): Promise<void> {
  const own = mkdtempSync(join(folder, "row-"));
  let late: NodeJS.Timeout | undefined;
  try {
    const timeOut = new Promise<never>((_, reject) => {
      late = setTimeout(reject, ROW_LIMIT, new Error(`not done in ${ROW_LIMIT / 1000} s`));
    });
    await Promise.race([ROWS[name]?.({ ...bench, folder: own, report }), timeOut]);
  } catch (error) {
    results.failures[name] = error instanceof Error ? error.message : String(error);
    process.stdout.write(`${name}: no figure: ${results.failures[name]}\n`);
  } finally {
    clearTimeout(late);
    await killAll();
    rmSync(own, { recursive: true, force: true, maxRetries: 5 });
  }
  save();
}

function report(line: Line): void {
  const judged = judge(line);
  results.lines.push(judged);
  process.stdout.write(lineText(judged));
}

/** After each row, so that a run which is stopped has its figures. */
function save(): void {
  results.seconds = Math.round((Date.now() - began.getTime()) / 1000);
  const target = join(import.meta.dirname, "results");
  mkdirSync(target, { recursive: true });
  const file = `${results.date.slice(0, 19).replaceAll(":", "-")}.json`;
  writeFileSync(join(target, file), `${JSON.stringify(results, null, 2)}\n`);
}
