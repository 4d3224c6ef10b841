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
