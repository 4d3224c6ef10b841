import assert from "node:assert/strict";
import { test } from "node:test";
import { createHistogram, expose } from "../../src/metrics/exposition.ts";
import { parseMetrics, valueIn } from "./parser.ts";

test("any label value survives, and every kind of value", () => {
  const evil = 'a "quoted" \\ back\\slash\nand a line {,}= مرحبا';
  const odd = expose("counter", "odd_total", "Odd things.", [
    [1e21, { kind: evil, code: 200 }],
    [0.1, { kind: "", code: 200 }],
  ]);
  const families = parseMetrics(odd + expose("gauge", "none", "Not known.", [[Number.NaN]]));
  assert.equal(valueIn(families, "odd_total", { kind: evil, code: "200" }), 1e21);
  assert.equal(valueIn(families, "none"), Number.NaN);
});

test("a histogram counts a duration in every bucket from its own on", () => {
  const histogram = createHistogram();
  for (const seconds of [0, 0.005, 0.006, 59, 61, 1000]) histogram.observe({ a: 1 }, seconds);
  histogram.observe({ a: 2 }, 0.3);
  const families = parseMetrics(expose("histogram", "t_seconds", "Times.", histogram.samples()));
  const bucket = (le: string) => valueIn(families, "t_seconds_bucket", { a: "1", le });
  assert.deepEqual(["0.005", "0.01", "30", "60", "+Inf"].map(bucket), [2, 3, 3, 4, 6]);
  assert.equal(valueIn(families, "t_seconds_sum", { a: "1" }), 1120.011);
  assert.equal(valueIn(families, "t_seconds_count", { a: "2" }), 1);
});

test("the parser refuses what the format does not allow", () => {
  const wrong = [
    "# HELP a A.\n# TYPE a gauge\na 1",
    "# HELP a A.\n# TYPE a gauge\na{b='c'} 1\n",
    '# HELP a A.\n# TYPE a gauge\na{b="c\\t"} 1\n',
    "# HELP a A.\n# TYPE a gauge\na 1\na 1\n",
    "# HELP a A.\n# TYPE a counter\na 1\n",
    "# HELP a A.\n# TYPE a gauge\nb 1\n",
    "# HELP a A.\n# TYPE a gauge\na 0x1\n",
    "# HELP a A.\n# TYPE a gauge\n",
    "# HELP a A.\na 1\n# TYPE a gauge\n",
    '# HELP a A.\n# TYPE a histogram\na_bucket{le="+Inf"} 2\na_sum 1\na_count 1\n',
    '# HELP a A.\n# TYPE a histogram\na_bucket{le="1"} 1\na_sum 1\na_count 1\n',
  ];
  for (const text of wrong) assert.throws(() => parseMetrics(text), text);
});
