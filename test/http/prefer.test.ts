import assert from "node:assert/strict";
import { test } from "node:test";
import { preferredWait } from "../../src/http/prefer.ts";

for (const [prefer, seconds] of [
  ["wait=5", 5],
  ["wait=30", 30],
  ["wait=31", 30],
  [`wait=${"9".repeat(400)}`, 30],
  ["WAIT = 5", 5],
  ['wait="5"', 5],
  ["wait=05", 5],
  ["wait=5; foo=bar", 5],
  ["respond-async, wait=5", 5],
  ["respond-async,wait=5,", 5],
  ["return=minimal; a; b=c\t, \twait=5 , handling=lenient", 5],
  // The first one counts (§2).
  ["wait=5, wait=6", 5],
  ["wait=x, wait=6", undefined],
  // Not what it looks like.
  ['foo="a, wait=5"', undefined],
  ['foo="a\\", wait=5"', undefined],
  ['foo="a, wait=5', undefined],
  ["foo; wait=5", undefined],
  ["await=5", undefined],
  ["waits=5", undefined],
  ["wait", undefined],
  ["wait=", undefined],
  ['wait=""', undefined],
  ["wait=0", undefined],
  ["wait=-1", undefined],
  ["wait=+1", undefined],
  ["wait=1.5", undefined],
  ["wait=1e1", undefined],
  ["wait=0x5", undefined],
  ["wait=٥", undefined],
  ["wait=5 6", undefined],
  ['wait="5', undefined],
  ["", undefined],
  [",,,", undefined],
  [undefined, undefined],
] as const) {
  test(`Prefer: ${String(prefer).slice(0, 60)} waits ${seconds ?? "not at all"}`, () => {
    assert.equal(preferredWait(prefer === undefined ? {} : { prefer }, 30), seconds);
  });
}

test("a header of 16 KiB, however it is made, takes no time", () => {
  for (const piece of ['"', '\\"', '"\\', ",", "wait ", "wait=", '="\\', " "]) {
    const started = performance.now();
    preferredWait({ prefer: piece.repeat(16_384 / piece.length) }, 30);
    assert.ok(performance.now() - started < 1000, JSON.stringify(piece));
  }
});
