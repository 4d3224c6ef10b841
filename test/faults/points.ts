/**
 * Loaded into a server before its program (`node --import`): kills it just before its n-th effect,
 * n being FAULTS_KILL_AT, counted from SIGUSR2 on. An effect is a call that changes the disk: of
 * node:fs, which its streams use too, of a file handle, or a statement that commits.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { DatabaseSync, StatementSync } from "node:sqlite";

const QUIET_MS = 150;
const killAt = Number(process.env.FAULTS_KILL_AT);
let isArmed = false;
let count = 0;
let lastEffect = performance.now();

const say = (message: string, at: string) =>
  fs.writeSync(1, `${JSON.stringify({ level: "debug", message, at })}\n`);

function effect(name: string): void {
  lastEffect = performance.now();
  if (!isArmed) return;
  count += 1;
  if (count !== killAt) return;
  say("killed", name);
  process.kill(process.pid, "SIGKILL");
  // The signal may take a moment, in which nothing more may happen.
  for (;;);
}

// Background work of the start must not be counted.
process.on("SIGUSR2", () => {
  const look = () => {
    if (performance.now() - lastEffect < QUIET_MS) return void setTimeout(look, QUIET_MS);
    isArmed = true;
    say("armed", "");
  };
  look();
});

type Method = (...args: unknown[]) => unknown;

function wrap(owner: object, name: string, label: (args: unknown[], self: object) => string): void {
  const methods = owner as Record<string, Method>;
  const original = methods[name] as Method;
  methods[name] = function (this: object, ...args) {
    const what = label(args, this);
    if (what) effect(what);
    return original.apply(this, args);
  };
}

/** Of whoever asks whether the server is ready; nothing is lost with it. */
const isProbe = (path: unknown) => String(path).endsWith("probe");

const WRITES = /[wax+]/;
for (const name of ["rename", "rm", "rmdir", "unlink", "link"])
  wrap(fs.promises, name, ([path]) => (isProbe(path) ? "" : name));
// A folder that is there already stays as it is.
wrap(fs.promises, "mkdir", ([path]) => (fs.existsSync(String(path)) ? "" : "mkdir"));
for (const owner of [fs.promises, fs])
  wrap(owner, "open", ([, flags]) => (WRITES.test(String(flags ?? "r")) ? "open" : ""));
wrap(fs.promises, "writeFile", ([path]) => (isProbe(path) ? "" : "writeFile"));
syncBuiltinESMExports();

const handle = await fs.promises.open(process.execPath);
const handles = Object.getPrototypeOf(handle);
await handle.close();
for (const name of ["sync", "datasync", "truncate"]) wrap(handles, name, () => name);
wrap(fs, "fsync", () => "fsync");
for (const owner of [handles, fs])
  for (const name of ["write", "writev"]) wrap(owner, name, () => "write of a piece");

/** Within a transaction only its end is an effect. */
let isInTransaction = false;

function statement(sql: string): string {
  const verb = /^\s*(\w+)/.exec(sql)?.[1]?.toUpperCase() ?? "";
  if (verb === "BEGIN") isInTransaction = true;
  if (verb === "ROLLBACK" && !/ TO /.test(sql)) isInTransaction = false;
  if (verb === "COMMIT") {
    isInTransaction = false;
    return verb;
  }
  if (isInTransaction || !["INSERT", "UPDATE", "DELETE"].includes(verb)) return "";
  return /^\s*(\w+ (?:INTO |FROM )?\w+)/.exec(sql)?.[1] ?? verb;
}

wrap(DatabaseSync.prototype, "exec", ([sql]) => statement(String(sql)));
for (const name of ["run", "all", "get"])
  wrap(StatementSync.prototype, name, (_args, self) =>
    statement((self as StatementSync).sourceSQL),
  );
