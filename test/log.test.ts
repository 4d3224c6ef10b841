import assert from "node:assert/strict";
import { test } from "node:test";
import { createLogger, LOG_LEVELS } from "../src/log.ts";

const cause = Object.assign(new TypeError("the cause"), { code: "ECONNRESET" });
const error = new Error("what happened", { cause });

function logged(level: (typeof LOG_LEVELS)[number], readable: boolean): string[] {
  const lines: string[] = [];
  const log = createLogger({ level, readable, write: (line) => lines.push(line) });
  for (const name of LOG_LEVELS) {
    log[name](`a ${name}`, { text: "as it is", absent: undefined, list: [1], error });
  }
  return lines;
}

test("one JSON object a line, with an error's causes, for one level and up", () => {
  const lines = logged("warn", false);
  assert.ok(lines.every((line) => /^[^\n]+\n$/.test(line)));
  const [warning, ...others] = lines.map((line) => JSON.parse(line));
  assert.deepEqual(
    others.map(({ level }) => level),
    ["error"],
  );
  const { time, error: described, ...fields } = warning;
  assert.match(time, /^\d{4}-\d\d-\d\dT[\d:]+\.\d{3}Z$/);
  assert.deepEqual(fields, { level: "warn", message: "a warn", text: "as it is", list: [1] });
  const { stack, ...rest } = described;
  assert.match(stack, /^Error: what happened\n {4}at /);
  assert.deepEqual(rest, {
    name: "Error",
    message: "what happened",
    cause: { name: "TypeError", message: "the cause", code: "ECONNRESET" },
  });
});

test("a short form for terminals, with stack and causes", () => {
  const lines = logged("debug", true);
  assert.equal(lines.length, LOG_LEVELS.length);
  assert.match(
    lines[1] ?? "",
    /^[\d:]{8}\.\d{3} info {2}a info text=as it is list=\[1\] error=Error: what happened\n {4}at .*\n {2}caused by \{"name":"TypeError","message":"the cause","code":"ECONNRESET",.*\}\n$/s,
  );
});

const READABLE = [
  "blob_key",
  "blobKey",
  "public_key",
  "user_id",
  "session_id",
  "request_id",
  "keyboard",
  "monkey",
  "passed",
  "compass",
  "author",
  "part",
  "status",
  "path",
];
const HIDDEN = [
  "password",
  "PASSWORD",
  "new_password",
  "newPassword",
  "password_hash",
  "passwd",
  "SQL_PASS",
  "pwd",
  "passphrase",
  "secret",
  "clientSecret",
  "JWT_SECRET_KEY",
  "token",
  "tokens",
  "access_token",
  "refreshToken",
  "reset_token",
  "Authorization",
  "proxy-authorization",
  "auth",
  "cookie",
  "Set-Cookie",
  "credentials",
  "jwt",
  "key",
  "keys",
  "AUDIT_KEY",
  "accountKey",
  "SharedAccessKey",
  "x-api-key",
  "APIKey",
  "connectionString",
  "connection string",
  "BLOB_CONNECTION_STR",
];

test("a field that is named like a secret is hidden, at any depth, in both forms", () => {
  const values = ["canary-1", 424242, null, ["canary-2"], { inner: "canary-3" }];
  for (const readable of [true, false]) {
    const line = (fields: Record<string, unknown>) => {
      const lines: string[] = [];
      createLogger({ level: "info", readable, write: (text) => lines.push(text) }).info(
        "x",
        fields,
      );
      return lines.join("");
    };
    for (const name of HIDDEN) {
      for (const value of values) {
        for (const fields of [{ [name]: value }, { a: [{ b: { [name]: value } }] }]) {
          assert.match(line(fields), /\[redacted\]/, name);
          assert.doesNotMatch(line(fields), /canary|424242/, name);
        }
      }
      assert.doesNotMatch(line({ [name]: undefined }), /redacted/, name);
    }
    for (const name of READABLE) {
      assert.match(line({ [name]: "open", a: { [name]: "open" } }), /open.*open/, name);
    }
  }
});

test("an error's own properties stay out of the log, its code aside", () => {
  const inner = Object.assign(new Error("inner"), {
    password: "canary",
    code: { token: "canary" },
  });
  const outer = Object.assign(new Error("outer", { cause: inner }), {
    config: { connectionString: "canary" },
    sql: "canary",
  });
  for (const readable of [true, false]) {
    const lines: string[] = [];
    const log = createLogger({ level: "info", readable, write: (text) => lines.push(text) });
    log.info("x", { error: outer, nested: [{ error: outer }] });
    assert.match(lines.join(""), /outer.*inner/s);
    assert.doesNotMatch(lines.join(""), /canary/);
  }
});

test("a logger's own fields are in each of its lines, hidden like any other", () => {
  const lines: string[] = [];
  const fields = { part: "worker", token: "canary" };
  const write = (line: string) => void lines.push(line);
  const log = createLogger({ level: "info", readable: false, write, fields });
  log.info("one");
  log.warn("two", { part: "engine" });
  const shown = lines.map((line) => JSON.parse(line)).map(({ part, token }) => [part, token]);
  assert.deepEqual(shown, [
    ["worker", "[redacted]"],
    ["engine", "[redacted]"],
  ]);
});

test("causes that go in a circle end", () => {
  const circle = new Error("round");
  circle.cause = circle;
  for (const readable of [true, false]) {
    const lines: string[] = [];
    createLogger({ level: "info", readable, write: (line) => lines.push(line) }).info("x", {
      error: circle,
    });
    assert.equal(lines.length, 1);
  }
});
