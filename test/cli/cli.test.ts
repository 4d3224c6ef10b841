import assert from "node:assert/strict";
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { openSqlite } from "../../src/data/sqlite.ts";
import { findUserByEmail } from "../../src/data/users.ts";
import { createPasswords } from "../../src/security/passwords.ts";

const CLI = join(import.meta.dirname, "../../src/cli/cli.ts");
const PASSWORD = "A long passphrase, 1";
const ADMIN = ["create-admin", "--email", "Admin@Example.org"];

let folder = "";
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "nassaq-cli-"));
});
after(() => rm(folder, { recursive: true }));

/** The machine's own variables, and nothing that configures the server. */
function environment(env: Record<string, string>): NodeJS.ProcessEnv {
  const { PATH, HOME, TMPDIR } = process.env;
  return { PATH, HOME, ...(TMPDIR ? { TMPDIR } : {}), ...env };
}

interface Result {
  code: number | null;
  stdout: string;
  stderr: string;
}

function start(
  args: readonly string[],
  env: Record<string, string> = {},
): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [CLI, ...args], { cwd: folder, env: environment(env) });
}

async function finish(child: ChildProcessWithoutNullStreams): Promise<Result> {
  const result = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => {
      result[name] += text;
    });
  }
  const [code] = await once(child, "close");
  return { code, ...result };
}

function cli(
  args: readonly string[],
  options: { env?: Record<string, string>; input?: string } = {},
): Promise<Result> {
  const child = start(args, options.env);
  // The command may end without reading it.
  child.stdin.on("error", () => {}).end(options.input ?? "");
  return finish(child);
}

describe("usage", () => {
  test("--help prints every command and exit code, whatever comes before it", async () => {
    for (const args of [["--help"], ["-h"], ["migrate", "--help"]]) {
      const { code, stdout, stderr } = await cli(args);
      assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
      for (const word of ["create-admin", "migrate", "config", "64", "69", "78"])
        assert.ok(stdout.includes(word), word);
    }
  });

  test("a wrong command line is told, with the help, and exit code 64", async () => {
    const wrong: [string[], RegExp][] = [
      [[], /command is missing/],
      [["serve"], /no command 'serve'/],
      [["__proto__"], /no command '__proto__'/],
      [["toString"], /no command 'toString'/],
      [["migrate", "--force"], /'--force'/],
      [["migrate", "--email", "a@b.cd"], /'--email'/],
      [["migrate", "now"], /'now'/],
      [["create-admin"], /needs --email/],
      [["create-admin", "--email"], /--email/],
      [["config", "--check=yes"], /--check/],
    ];
    for (const [args, reason] of wrong) {
      const { code, stdout, stderr } = await cli(args);
      assert.deepEqual({ code, stdout }, { code: 64, stdout: "" }, args.join(" "));
      assert.match(stderr, reason);
      assert.match(stderr, /Usage: /);
      assert.doesNotMatch(stderr, /\n {4}at /);
    }
    assert.deepEqual(await readdir(folder), []);
  });
});

describe("create-admin", () => {
  const DATA_DIR = () => join(folder, "data");
  beforeEach(() => rm(DATA_DIR(), { recursive: true, force: true }));

  async function userOf(email: string) {
    const database = openSqlite({ file: join(DATA_DIR(), "nassaq.db") });
    try {
      const user = await findUserByEmail(database, email);
      const row = await database.first<{ hash: string }>(
        "SELECT password_hash AS hash FROM Users WHERE email = @email",
        { email },
      );
      return { user, hash: row?.hash ?? "" };
    } finally {
      await database.close();
    }
  }

  test("makes an active admin with the password from standard input's first line", async () => {
    const { code, stdout, stderr } = await cli(
      [...ADMIN, "--full-name", "سلمى حداد", "--username", "salma"],
      {
        input: `${PASSWORD}\r\nnot this\n`,
      },
    );
    assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
    assert.match(stdout, /admin@example\.org.*salma/);
    const { user, hash } = await userOf("admin@example.org");
    assert.deepEqual(
      [user?.roleId, user?.isActive, user?.fullName, user?.username],
      [99, true, "سلمى حداد", "salma"],
    );
    const passwords = createPasswords();
    assert.equal(await passwords.verify(PASSWORD, hash), true);
    await passwords.close();
  });

  test("does not wait for the end of standard input", async () => {
    const child = start(ADMIN);
    child.stdin.on("error", () => {}).write(`${PASSWORD}\n`);
    assert.equal((await finish(child)).code, 0);
  });

  test("names every wrong field, never the password", async () => {
    const bad = ["create-admin", "--email", "nobody", "--full-name", "Al", "--username", "a b"];
    const { code, stdout, stderr } = await cli(bad, { input: "geheim\n" });
    assert.deepEqual({ code, stdout }, { code: 1, stdout: "" });
    for (const field of ["email", "full_name", "username", "password"])
      assert.match(stderr, new RegExp(`^${field}: \\S`, "m"));
    assert.doesNotMatch(stderr, /geheim|\[object|\n {4}at /);
    assert.deepEqual(await readdir(folder), []);
  });

  test("refuses an empty standard input", async () => {
    const { code, stderr } = await cli(ADMIN);
    assert.equal(code, 1);
    assert.equal(stderr, "No password was given.\n");
  });

  test("says that an address or a name is taken", async () => {
    assert.equal((await cli([...ADMIN, "--username", "root"], { input: PASSWORD })).code, 0);
    const again = await cli(["create-admin", "--email", "ADMIN@example.org"], { input: PASSWORD });
    assert.deepEqual(again, { code: 1, stdout: "", stderr: "Email already registered\n" });
    const name = await cli(["create-admin", "--email", "b@example.org", "--username", "ROOT"], {
      input: PASSWORD,
    });
    assert.deepEqual(name, { code: 1, stdout: "", stderr: "Username already taken\n" });
  });

  test("leaves the schema alone with MIGRATE_ON_START=no", async () => {
    const env = { MIGRATE_ON_START: "no" };
    const behind = await cli(ADMIN, { env, input: PASSWORD });
    assert.equal(behind.code, 1);
    assert.match(behind.stderr, /npm run migrate/);
    assert.equal((await cli(["migrate"])).code, 0);
    assert.equal((await cli(ADMIN, { env, input: PASSWORD })).code, 0);
  });

  const script = spawnSync("script", ["--version"], { encoding: "utf8" });
  const skip = /util-linux/.test(script.stdout ?? "")
    ? false
    : "needs the program `script` of util-linux";

  /** The command on a terminal of its own, typing `keys` once it has asked. Both output streams are the terminal. */
  async function onTerminal(keys: string): Promise<Result> {
    const command = [process.execPath, CLI, ...ADMIN].map((word) => `'${word}'`).join(" ");
    const child = spawn("script", ["-q", "-e", "-f", "-c", command, "/dev/null"], {
      cwd: folder,
      env: environment({ TERM: "xterm" }),
    });
    child.stdin.on("error", () => {});
    let asked = false;
    child.stdout.on("data", (data: Buffer) => {
      if (asked || !data.includes("Password: ")) return;
      asked = true;
      child.stdin.write(keys);
    });
    return finish(child);
  }

  test("asks on a terminal and does not show what is typed", { skip }, async () => {
    const { code, stdout } = await onTerminal(`${PASSWORD}x\x7f\r`);
    assert.equal(code, 0, stdout);
    assert.match(stdout, /^Password: \r?\n.*Made the administrator/s);
    assert.ok(!stdout.includes("passphrase"));
    const { hash } = await userOf("admin@example.org");
    const passwords = createPasswords();
    assert.equal(await passwords.verify(PASSWORD, hash), true, "the backspace counted");
    await passwords.close();
  });

  test("ends when the question is given up with Ctrl-C or Ctrl-D", { skip }, async () => {
    for (const key of ["\x03", "\x04"]) {
      const { code, stdout } = await onTerminal(key);
      assert.equal(code, 1, stdout);
      assert.match(stdout, /No password was given\./);
      assert.doesNotMatch(stdout, /\n {4}at |Warning/);
    }
  });
});

describe("migrate", () => {
  test("says what ran, and has nothing to do the second time", async () => {
    const env = { DATA_DIR: join(folder, "migrated") };
    const first = await cli(["migrate"], { env });
    assert.deepEqual([first.code, first.stderr], [0, ""]);
    assert.match(first.stdout, /^applied \d{4}-\S+$/m);
    assert.deepEqual(await cli(["migrate"], { env }), {
      code: 0,
      stdout: "The database is up to date.\n",
      stderr: "",
    });
  });

  test("ends with 69 when the database can't be had", async () => {
    await writeFile(join(folder, "a-file"), "");
    const { code, stdout, stderr } = await cli(["migrate"], {
      env: { DATA_DIR: join(folder, "a-file/below") },
    });
    assert.deepEqual([code, stdout], [69, ""]);
    assert.ok(stderr.trim().length > 0);
    assert.doesNotMatch(stderr, /\n {4}at /);
  });
});

describe("config", () => {
  test("prints every variable, masks secrets, and tells that all is well", async () => {
    const env = {
      SQL_PASS: "sesam-sql",
      JWT_SECRET_KEY: "sesam-jwt",
      MESSAGE_BROKER_URL: "amqp://u:sesam-mq@h/",
    };
    const { code, stdout, stderr } = await cli(["config", "--check"], { env });
    assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
    assert.match(stdout, /^PORT=8000 \(default\)$/m);
    assert.match(stdout, /^JWT_SECRET_KEY=\*\*\*\*$/m);
    assert.match(stdout, /^SQL_USER= \(not set\)$/m);
    assert.doesNotMatch(stdout, /sesam/);
  });

  test("prints everything that is wrong and ends with 78, as every other command does", async () => {
    const env = { ENVIRONMENT: "production", PORT: "sesam", JWT_SECRET_KEY: "sesam" };
    const { code, stdout } = await cli(["config", "--check"], { env });
    assert.equal(code, 78);
    for (const name of [
      "PORT",
      "SQL_SERVER",
      "MONGO_HOST",
      "MESSAGE_BROKER_URL",
      "BLOB_CONNECTION_STR",
      "JWT_SECRET_KEY",
    ]) {
      assert.match(stdout, new RegExp(`^ {2}${name} (is|must)`, "m"));
    }
    assert.doesNotMatch(stdout, /sesam/);
    const migrate = await cli(["migrate"], { env });
    assert.equal(migrate.code, 78);
    assert.match(migrate.stderr, /PORT must be/);
  });

  test("reads .env, and what the environment sets wins", async () => {
    await writeFile(join(folder, ".env"), "PORT=9001\nLOG_LEVEL=debug\n");
    try {
      const { stdout } = await cli(["config"], { env: { PORT: "9002" } });
      assert.match(stdout, /^PORT=9002$/m);
      assert.match(stdout, /^LOG_LEVEL=debug$/m);
    } finally {
      await rm(join(folder, ".env"));
    }
  });

  test("ends quietly when nobody reads the output", async () => {
    const child = start(["config"]);
    child.stdout.destroy();
    const errors: Buffer[] = [];
    child.stderr.on("data", (data: Buffer) => errors.push(data));
    const [code] = await once(child, "close");
    assert.deepEqual([code, Buffer.concat(errors).toString()], [0, ""]);
  });
});
