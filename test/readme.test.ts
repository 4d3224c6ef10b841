import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, readdir, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";

const CHECKOUT = join(import.meta.dirname, "..");
const README = await readFile(join(CHECKOUT, "README.md"), "utf8");
const BLOCKS = [...README.matchAll(/^```sh(.*)\n([\s\S]*?)^```$/gm)].map(
  ([, mark = "", block = ""]) => ({
    mark: mark.trim(),
    block,
  }),
);

/** Of the checkout, what is not made from it. */
const LEFT_OUT = new Set(["node_modules", "dist", "data", ".git", ".env"]);

test("every command block is one that these tests or .ci/run carry out, or needs a container engine", async () => {
  const [first, second, tour, commands, engine, ...others] = BLOCKS;
  assert.equal(first?.block, "npm ci && npm start\n");
  assert.equal(second?.block, "npm ci && npm test\n");
  const script = await readFile(join(CHECKOUT, ".ci/run"), "utf8");
  // In a subshell, or `set -e` would not see `npm ci` fail.
  assert.match(script, /^\(npm ci && npm test\)$/m);
  assert.match(tour?.block ?? "", /^API=/);
  assert.match(commands?.block ?? "", /^npm run /);
  assert.equal(engine?.mark, "docker");
  assert.deepEqual(others, []);
});

const missing = ["bash", "curl", "cmp", "sed"].filter(
  (name) => spawnSync(name, ["--version"]).status !== 0,
);

/** Each with what ends it at the first failure; dash has no `pipefail`. */
const SHELLS: [[string, string[]], ...[string, string[]][]] = [
  ["bash", ["-euo", "pipefail"]],
  ["zsh", ["-f", "-euo", "pipefail"]],
  ["dash", ["-eu"]],
];

describe("the README's commands", {
  skip: missing.length > 0 ? `needs ${missing.join(", ")}` : false,
}, () => {
  let folder = "";
  let server: ChildProcess | undefined;
  const environment = { ...machine(), PORT: "0" };

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "nassaq-readme-"));
    await cp(CHECKOUT, folder, {
      recursive: true,
      filter: (file) => !LEFT_OUT.has(basename(file)) || join(CHECKOUT, basename(file)) !== file,
    });
    // What `npm ci` made here, so that the copy need not do it again.
    await symlink(join(CHECKOUT, "node_modules"), join(folder, "node_modules"));
  });
  after(async () => {
    if (server && server.exitCode === null && server.signalCode === null) {
      // npm's own process passes on no SIGKILL: its whole group is ours.
      process.kill(-(server.pid ?? 0), "SIGKILL");
      await once(server, "close");
    }
    await rm(folder, { recursive: true, force: true });
  });

  /** Runs lines as a person's shell would, but ends at the first that fails. */
  async function shell(
    lines: string,
    env: Record<string, string> = {},
    [command, options] = SHELLS[0],
  ): Promise<string> {
    const child = spawn(command, [...options, "-c", lines], {
      cwd: folder,
      env: { ...environment, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const [output, errors, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, "close"),
    ]);
    assert.equal(code, 0, output + errors);
    return output;
  }

  test("start a server that says where it is and how to log in, which the tour in curl then does", async (t) => {
    const { block } = BLOCKS[0] as { block: string };
    server = spawn("bash", ["-c", block.replace("npm ci && ", "exec ")], {
      cwd: folder,
      env: environment,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const { address, password } = await firstRun(server);

    const tour = BLOCKS[2]?.block ?? "";
    // At its prompt zsh takes it for a command.
    assert.doesNotMatch(tour, /(^|\s)#/);
    // Each leaves nothing behind.
    for (const program of SHELLS)
      await t.test(`in ${program[0]}`, { skip: withoutShell(program[0]) }, async () => {
        const output = await shell(tour, { API: address, ADMIN_PASSWORD: password }, program);
        for (const expected of [
          '"email":"salma@example.org"',
          '"stage_name":"OCR"',
          '"total":1',
          "%PDF-1.",
          "deleted successfully",
        ]) {
          assert.ok(output.includes(expected), `${expected} in ${output}`);
        }
      });

    const ended = once(server, "close");
    process.kill(-(server.pid ?? 0), "SIGTERM");
    await ended;
  });

  test("check, migrate, make an administrator and show the whole job", async () => {
    const output = await shell(BLOCKS[3]?.block ?? "");
    for (const expected of [
      "The configuration is complete.",
      "The database is up to date",
      "second@example.org",
      "Every step was right.",
    ]) {
      assert.ok(output.includes(expected), `${expected} in ${output}`);
    }
  });
});

/** Why the tour is not run in it; where CI is set that is a fault. */
function withoutShell(command: string): string | false {
  if (process.env.CI || spawnSync(command, ["-c", ":"]).status === 0) return false;
  return `needs ${command}`;
}

/** The machine's own variables: neither those that configure a server nor what `npm test` tells its children. */
function machine(): Record<string, string> {
  const { PATH = "", HOME = "" } = process.env;
  const path = PATH.split(":").filter((part) => !part.includes("node_modules"));
  return { PATH: path.join(":"), HOME };
}

/** Where the server is, and the password of the first administrator, from standard error. */
async function firstRun(child: ChildProcess): Promise<{ address: string; password: string }> {
  const said: string[] = [];
  child.stdout?.on("data", (data: Buffer) => said.push(data.toString()));
  const told = new Map<string, string>();
  for await (const line of createInterface({ input: child.stderr as NodeJS.ReadableStream })) {
    said.push(line);
    const [, name = "", value = ""] = /^(Address|Password): (\S+)$/.exec(line) ?? [];
    told.set(name, value);
    const address = told.get("Address");
    const password = told.get("Password");
    if (!address || !password) continue;
    assert.ok(!said.join("").includes(`"${password}"`), "the log has the password");
    child.stderr?.resume();
    return { address, password };
  }
  return assert.fail(`The server did not start:\n${said.join("\n")}`);
}

test("the source tour passes every file once, and its line counts are about right", async () => {
  const rows = [...README.matchAll(/^\| \d+ +\| (.+?) +\| ([\d,]+) +\|/gm)].map(
    ([, where = "", lines = ""]) => ({
      places: [...where.matchAll(/`([^`]+)`/g)].map(([, place = ""]) => place),
      lines: Number(lines.replace(",", "")),
      counted: 0,
    }),
  );
  for (const entry of await readdir(join(CHECKOUT, "src"), { recursive: true })) {
    if (!entry.endsWith(".ts")) continue;
    const file = `src/${entry}`;
    const row =
      rows.find(({ places }) => places.includes(file)) ??
      rows.find(({ places }) => places.some((place) => file.startsWith(`${place}/`)));
    assert.ok(row, `${file} is in no row`);
    row.counted += (await readFile(join(CHECKOUT, file), "utf8")).split("\n").length - 1;
  }
  for (const { places, lines, counted } of rows) {
    assert.ok(
      Math.abs(lines - counted) <= Math.max(30, counted / 10),
      `${places.join(" ")}: ${lines} in the README, ${counted} in truth`,
    );
  }
});

test("the table of dependencies has those of package.json and no others", async () => {
  const { dependencies, optionalDependencies } = JSON.parse(
    await readFile(join(CHECKOUT, "package.json"), "utf8"),
  );
  const section = README.slice(README.indexOf("## Dependencies"));
  const listed = [...section.matchAll(/^\| `([^`]+)` +\|/gm)].map(([, name]) => name);
  const all = { ...dependencies, ...optionalDependencies };
  assert.deepEqual(listed.sort(), Object.keys(all).sort());
});

test("every file and npm script that the README names exists", async () => {
  const { scripts } = JSON.parse(await readFile(join(CHECKOUT, "package.json"), "utf8"));
  for (const [, name = ""] of README.matchAll(/npm run ([\w:-]+)/g))
    assert.ok(name in scripts, `npm run ${name}`);
  for (const [, path = ""] of README.matchAll(/`((?:src|test)\/[\w./-]+)`/g))
    await readFile(join(CHECKOUT, path)).catch(() => readdir(join(CHECKOUT, path)));
  for (const [, path = ""] of README.matchAll(/\]\(([\w./-]+)\)/g))
    await readFile(join(CHECKOUT, path));
});
