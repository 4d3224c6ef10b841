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
const BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

interface Series {
  labels: Labels;
  /** How many values are under each bound and over the one before it. */
  buckets: number[];
  sum: number;
  count: number;
}

/** Counts durations by labels. The number of different labels must be bounded. */
export function createHistogram() {
  const all = new Map<string, Series>();
  return {
    observe(labels: Labels, seconds: number): void {
      const key = labelText(labels);
      const series = all.get(key) ?? { labels, buckets: BOUNDS.map(() => 0), sum: 0, count: 0 };
      all.set(key, series);
      const place = BOUNDS.findIndex((bound) => seconds <= bound);
      if (place !== -1) series.buckets[place] = (series.buckets[place] ?? 0) + 1;
      series.sum += seconds;
      series.count += 1;
    },

    samples: (): Sample[] =>
      Array.from(all.values()).flatMap(({ labels, buckets, sum, count }) => {
        let upTo = 0;
        const bucket = (le: number | string, value: number) => ({
          suffix: "_bucket",
          labels: { ...labels, le },
          value,
        });
        return [
          ...buckets.map((number, place) => {
            upTo += number;
            return bucket(BOUNDS[place] ?? 0, upTo);
          }),
          bucket("+Inf", count),
          { suffix: "_sum", labels, value: sum },
          { suffix: "_count", labels, value: count },
        ];
      }),
  };
}
