/** Who is measured: Node alone (or what a line's name says), Fastify, another build, this one. */
export type Side = "floor" | "fastify" | "against" | "ours";
export type Figures = Partial<Record<Side, number>>;

/** The least ratio to the others: 1 is as good, 2 is twice as good. Or a figure. */
export interface Aims {
  floor?: number;
  fastify?: number;
  atMost?: number;
}

/** A measured case. More is better where the unit is something a second, else less. */
export interface Line extends Figures {
  name: string;
  unit: string;
  aims?: Aims;
  note?: string;
}

export interface Judged extends Line {
  /** Ratios of `ours` to the others, more than 1 when it is better. */
  of: Figures;
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
  const { ours = Number.NaN, aims } = line;
  const of: Figures = {};
  for (const side of ["floor", "fastify", "against"] as const) {
    const theirs = line[side];
    if (theirs !== undefined) of[side] = line.unit.endsWith("/s") ? ours / theirs : theirs / ours;
  }
  const { floor = 0, fastify = 0, atMost = Number.POSITIVE_INFINITY } = aims ?? {};
  const isMet = aims && (of.floor ?? 0) >= floor && (of.fastify ?? 0) >= fastify && ours <= atMost;
  return { ...line, of, isMet };
}

const figure = (value: number | undefined) => value?.toPrecision(value < 1000 ? 3 : 4) ?? "";

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
  const { name, unit, floor, fastify, against, ours, of, isMet, aims, note } = line;
  const verdict = isMet === undefined ? "" : isMet ? "met: " : "NOT met: ";
  const other = against !== undefined && `against ${figure(against)}: × ${of.against?.toFixed(2)}`;
  return row(
    `${name} (${unit})`,
    [
      ...[floor, fastify, ours].map(figure),
      of.floor?.toFixed(2) ?? "",
      of.fastify?.toFixed(2) ?? "",
    ],
    [`${verdict}${aims ? aimText(aims) : ""}`, other, note].filter(Boolean).join("; "),
  );
}
