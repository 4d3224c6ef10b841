/** The least ratio to the others: 1 is as good, 2 is twice as good. Or a figure. */
export interface Aims {
  floor?: number;
  fastify?: number;
  atMost?: number;
}

/** A measured case. More is better where the unit is something a second, else less. */
export interface Line {
  name: string;
  unit: string;
  /** Node alone, or what else `name` says. */
  floor?: number | undefined;
  fastify?: number | undefined;
  ours: number;
  aims?: Aims;
  note?: string;
}

export interface Judged extends Line {
  ofFloor?: number | undefined;
  ofFastify?: number | undefined;
  /** Undefined without an aim. */
  isMet?: boolean | undefined;
}

/** The value below which a part of them is. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? Number.NaN;
}

export const median = (values: readonly number[]) => quantile(values, 0.5);

export function judge(line: Line): Judged {
  const ratio = (theirs: number | undefined) => {
    if (theirs === undefined) return undefined;
    return line.unit.endsWith("/s") ? line.ours / theirs : theirs / line.ours;
  };
  const [ofFloor, ofFastify] = [ratio(line.floor), ratio(line.fastify)];
  const { floor = 0, fastify = 0, atMost = Number.POSITIVE_INFINITY } = line.aims ?? {};
  const isMet =
    line.aims && (ofFloor ?? 0) >= floor && (ofFastify ?? 0) >= fastify && line.ours <= atMost;
  return { ...line, ofFloor, ofFastify, isMet };
}

const figure = (value: number | undefined) =>
  value === undefined ? "" : value.toPrecision(value < 1000 ? 3 : 4).replace(/e\+\d+$/, "");
const ratio = (value: number | undefined) => (value === undefined ? "" : value.toFixed(2));

function aimText({ floor, fastify, atMost }: Aims): string {
  const parts = [
    floor === undefined ? [] : `≥ ${floor} floor`,
    fastify === undefined ? [] : `≥ ${fastify} Fastify`,
    atMost === undefined ? [] : `≤ ${atMost}`,
  ];
  return parts.flat().join(", ");
}

const row = (name: string, cells: string[], rest: string) =>
  `${name.padEnd(46)}${cells.map((cell) => cell.padStart(9)).join("")}  ${rest}\n`;

export const HEADING = row(
  "case (unit)",
  ["floor", "Fastify", "ours", "×floor", "×Fast."],
  "aim; beside it",
);

export function lineText(line: Judged): string {
  const { name, unit, floor, fastify, ours, ofFloor, ofFastify, isMet, aims, note } = line;
  const verdict = isMet === undefined ? "" : isMet ? "met: " : "NOT met: ";
  return row(
    `${name} (${unit})`,
    [figure(floor), figure(fastify), figure(ours), ratio(ofFloor), ratio(ofFastify)],
    [`${verdict}${aims ? aimText(aims) : ""}`, note].filter(Boolean).join("; "),
  );
}
