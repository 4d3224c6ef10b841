type Labels = Readonly<Record<string, string | number>>;

/** With what follows the family's name: `_bucket`, `_sum`, `_count`. */
type Sample = readonly [value: number, labels?: Labels, suffix?: string];

export const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** A metric in the text format (prometheus.io, "Exposition formats"); nothing without samples. */
export function expose(
  type: "counter" | "gauge" | "histogram",
  name: string,
  help: string,
  samples: readonly Sample[],
): string {
  if (samples.length === 0) return "";
  const lines = samples.map(
    ([value, labels = {}, suffix = ""]) => `${name}${suffix}${labelText(labels)} ${value}\n`,
  );
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join("")}`;
}

function labelText(labels: Labels): string {
  const escaped = (value: string) =>
    value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(`${value}`)}"`);
  return pairs.length > 0 ? `{${pairs.join(",")}}` : "";
}

/** Upper bounds in seconds. Uploads and downloads last as long as their clients need. */
const BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, Infinity];

/** Counts durations by labels. The number of different labels must be bounded. */
export function createHistogram() {
  /** How many values are at most each bound; the last bound is all. */
  const all = new Map<string, { labels: Labels; buckets: number[]; sum: number }>();
  return {
    observe(labels: Labels, seconds: number): void {
      const key = labelText(labels);
      const { buckets, sum } = all.get(key) ?? { buckets: BOUNDS.map(() => 0), sum: 0 };
      const counted = buckets.map((count, at) => count + Number(seconds <= (BOUNDS[at] ?? 0)));
      all.set(key, { labels, buckets: counted, sum: sum + seconds });
    },

    samples: (): Sample[] =>
      Array.from(all.values()).flatMap(({ labels, buckets, sum }) => [
        ...buckets.map((count, at): Sample => {
          const le = `${BOUNDS[at]}`.replace("Infinity", "+Inf");
          return [count, { ...labels, le }, "_bucket"];
        }),
        [sum, labels, "_sum"] as const,
        [buckets.at(-1) ?? 0, labels, "_count"] as const,
      ]),
  };
}
