type Labels = Readonly<Record<string, string | number>>;

interface Sample {
  /** What follows the family's name: `_bucket`, `_sum`, `_count`. */
  suffix?: string;
  labels?: Labels;
  value: number;
}

/** A metric with its values. Names are in base units, those of counters end in `_total`. */
export interface Family {
  name: string;
  type: "counter" | "gauge" | "histogram" | "summary";
  help: string;
  samples: readonly Sample[];
}

/** Of the text format, version 0.0.4. */
export const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** Families that have a sample, in the text format (prometheus.io, "Exposition formats"). */
export function expose(families: readonly Family[]): string {
  const known = families.filter(({ samples }) => samples.length > 0);
  const lines = known.flatMap(({ name, type, help, samples }) => [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} ${type}`,
    ...samples.map(
      ({ suffix = "", labels = {}, value }) => `${name}${suffix}${labelText(labels)} ${value}`,
    ),
  ]);
  return `${lines.join("\n")}\n`;
}

function labelText(labels: Labels): string {
  const escaped = (value: string) =>
    value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(`${value}`)}"`);
  return pairs.length > 0 ? `{${pairs.join(",")}}` : "";
}

/** Upper bounds in seconds. Uploads and downloads last as long as their clients need. */
const BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, Infinity];

interface Series {
  labels: Labels;
  /** How many values are at most each bound; the last bound is all. */
  buckets: number[];
  sum: number;
}

/** Counts durations by labels. The number of different labels must be bounded. */
export function createHistogram() {
  const all = new Map<string, Series>();
  return {
    observe(labels: Labels, seconds: number): void {
      const key = labelText(labels);
      const series = all.get(key) ?? { labels, buckets: BOUNDS.map(() => 0), sum: 0 };
      all.set(key, series);
      for (const [at, bound] of BOUNDS.entries())
        if (seconds <= bound) series.buckets[at] = (series.buckets[at] ?? 0) + 1;
      series.sum += seconds;
    },

    samples: (): Sample[] =>
      Array.from(all.values()).flatMap(({ labels, buckets, sum }) => [
        ...buckets.map((value, at) => {
          const le = `${BOUNDS[at]}`.replace("Infinity", "+Inf");
          return { suffix: "_bucket", labels: { ...labels, le }, value };
        }),
        { suffix: "_sum", labels, value: sum },
        { suffix: "_count", labels, value: buckets.at(-1) ?? 0 },
      ]),
  };
}
