import assert from "node:assert/strict";

interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

interface Family {
  type: string;
  help: string;
  samples: Sample[];
}

const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const LABEL = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\["\\\\n])*"';
const SAMPLE = new RegExp(`^(${NAME})(?:\\{((?:${LABEL},)*${LABEL})\\})? (\\S+)$`);
const NUMBER = /^(?:NaN|[+-]Inf|[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)$/;
const SUFFIXES: Record<string, RegExp> = {
  counter: /^$/,
  gauge: /^$/,
  histogram: /^_(?:bucket|sum|count)$/,
  summary: /^(?:_sum|_count)?$/,
};

function labelsOf(text = ""): Record<string, string> {
  const pairs = [...text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(
    ([, name = "", value = ""]) => [
      name,
      value.replace(/\\(.)/g, (_, escaped) => (escaped === "n" ? "\n" : escaped)),
    ],
  );
  const labels = Object.fromEntries(pairs);
  assert.equal(Object.keys(labels).length, pairs.length, `a label twice in ${text}`);
  return labels;
}

/** Reads Prometheus's text format, and fails for whatever its description does not allow or its conventions advise against. */
export function parseMetrics(text: string): Map<string, Family> {
  assert.ok(text.endsWith("\n"), "the last line has no end");
  const families = new Map<string, Family>();
  const seen = new Set<string>();
  let current: [name: string, family: Family] | undefined;
  for (const line of text.slice(0, -1).split("\n")) {
    const help = /^# HELP (\S+) (\S.*)$/.exec(line);
    const type = /^# TYPE (\S+) (\S+)$/.exec(line);
    if (help) {
      const [, name = "", said = ""] = help;
      assert.match(name, new RegExp(`^${NAME}$`));
      assert.ok(!families.has(name), `${name} comes twice`);
      assert.doesNotMatch(said, /\\(?![\\n])/);
      current = [name, { type: "", help: said, samples: [] }];
      families.set(...current);
      continue;
    }
    assert.ok(current, `${line} belongs to nothing`);
    const [name, family] = current;
    if (type) {
      assert.deepEqual([type[1], family.type, family.samples.length], [name, "", 0], line);
      assert.ok(type[2] !== undefined && type[2] in SUFFIXES, line);
      family.type = type[2];
      assert.equal(family.type === "counter", name.endsWith("_total"), `the name of ${name}`);
      continue;
    }
    const [, sample = "", labelText, number = ""] = SAMPLE.exec(line) ?? assert.fail(line);
    assert.ok(sample.startsWith(name), `${line} is not of ${name}`);
    assert.match(sample.slice(name.length), SUFFIXES[family.type] ?? /^$/, line);
    assert.match(number, NUMBER, line);
    const labels = labelsOf(labelText);
    const key = JSON.stringify([sample, Object.entries(labels).sort()]);
    assert.ok(!seen.has(key), `${line} comes twice`);
    seen.add(key);
    const value = Number(number.replace("Inf", "Infinity"));
    family.samples.push({ name: sample, labels, value });
  }
  for (const [name, family] of families) {
    assert.ok(family.samples.length > 0, `${name} has no sample`);
    if (family.type === "histogram") checkHistogram(name, family.samples);
  }
  return families;
}

/** Each series has growing buckets up to `+Inf`, which is its count, and a sum. */
function checkHistogram(name: string, samples: readonly Sample[]): void {
  const series = Map.groupBy(samples, ({ labels: { le, ...labels } }) => JSON.stringify(labels));
  for (const [labels, all] of series) {
    const of = (suffix: string) => all.filter((sample) => sample.name === `${name}${suffix}`);
    const buckets = of("_bucket");
    const bounds = buckets.map(({ labels: { le = "" } }) => Number(le.replace("Inf", "Infinity")));
    assert.deepEqual(
      bounds,
      [...bounds].sort((a, b) => a - b),
      labels,
    );
    assert.equal(bounds.at(-1), Number.POSITIVE_INFINITY, labels);
    const values = buckets.map(({ value }) => value);
    assert.deepEqual(
      values,
      [...values].sort((a, b) => a - b),
      labels,
    );
    assert.deepEqual([of("_sum").length, of("_count")[0]?.value], [1, values.at(-1)], labels);
  }
}

/** The value of the one sample with these labels. */
export function valueIn(
  families: ReadonlyMap<string, Family>,
  name: string,
  labels: Record<string, string> = {},
): number | undefined {
  const family = families.get(name) ?? families.get(name.replace(/_(?:bucket|sum|count)$/, ""));
  const found = family?.samples.filter(
    (sample) =>
      sample.name === name &&
      Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
  );
  assert.ok((found?.length ?? 0) <= 1, `${name} is not one`);
  return found?.[0]?.value;
}
