import assert from "node:assert/strict";
import { test } from "node:test";
import { sameText } from "../../src/data/database.ts";

test("texts are the same without case and in NFKC, in any script", () => {
  const same = [
    ["abcd_x", "ａｂｃｄ_X"],
    ["fisch", "ﬁSCH"],
    ["كتاب", "ﻛﺘﺎﺏ"],
    ["Ёлка", "ёлка"],
    ["é", "e\u0301"],
  ] as const;
  for (const [a, b] of same) assert.ok(sameText(a, b) && sameText(b, a), `${a} ${b}`);
  for (const [a, b] of [
    ["abcd_x", "abcd_x "],
    ["كتاب", "كتـاب"],
    ["e", "é"],
  ] as const) {
    assert.ok(!sameText(a, b), `${a} ${b}`);
  }
});
