/** A character of a text layer and its box in points. The page's left bottom corner is 0, 0. */
export interface Glyph {
  letter: string;
  left: number;
  right: number;
  bottom: number;
  top: number;
}

type Direction = "right-to-left" | "left-to-right" | "neutral";

/** Characters in reading order that stand side by side, at most a word. */
interface Run extends Glyph {
  direction: Direction;
}

const RIGHT_TO_LEFT = /[\p{Script=Arabic}\p{Script=Hebrew}]/u;

function directionOf(letter: string): Direction {
  if (/\p{N}/u.test(letter)) return "left-to-right";
  if (/\p{P}/u.test(letter)) return "neutral";
  if (RIGHT_TO_LEFT.test(letter) || /\p{M}/u.test(letter)) return "right-to-left";
  return /\p{L}/u.test(letter) ? "left-to-right" : "neutral";
}

const isArabic = (line: readonly Glyph[]) => line.some(({ letter }) => RIGHT_TO_LEFT.test(letter));
const isSpace = (run: Run | undefined) => run !== undefined && run.letter.trim() === "";
const isNumber = (run: Run | undefined) => run !== undefined && !/\p{L}/u.test(run.letter);

function spanOf(line: readonly Glyph[]): Omit<Glyph, "letter"> {
  const span = { left: Infinity, right: -Infinity, bottom: Infinity, top: -Infinity };
  for (const { left, right, bottom, top } of line) {
    span.left = Math.min(span.left, left);
    span.right = Math.max(span.right, right);
    span.bottom = Math.min(span.bottom, bottom);
    span.top = Math.max(span.top, top);
  }
  return span;
}

/** Whether two lines are pieces of one: at the same height, and no column's gap between them. */
function isOneLine(one: readonly Glyph[], other: readonly Glyph[]): boolean {
  const [a, b] = [spanOf(one), spanOf(other)];
  const height = Math.min(a.top - a.bottom, b.top - b.bottom);
  const overlap = Math.min(a.top, b.top) - Math.max(a.bottom, b.bottom);
  const gap = Math.max(a.left, b.left) - Math.min(a.right, b.right);
  return overlap > height / 2 && gap < height * 1.5;
}

/** A letter and its marks that are one glyph come from left to right, the letter last. */
function swapMarks(line: readonly Glyph[]): Glyph[] {
  const swapped: Glyph[] = [];
  let marks: Glyph[] = [];
  for (const glyph of line) {
    if (/\p{M}/u.test(glyph.letter)) {
      marks.push(glyph);
      continue;
    }
    const isLetter = directionOf(glyph.letter) === "right-to-left";
    const isOneGlyph = isLetter && marks.every((mark) => mark.left < glyph.left);
    if (isOneGlyph) swapped.push(glyph, ...marks.reverse());
    else swapped.push(...marks, glyph);
    marks = [];
  }
  return [...swapped, ...marks];
}

function runsOf(line: readonly Glyph[]): Run[] {
  const runs: Run[] = [];
  let before: Glyph | undefined;
  for (const glyph of line) {
    const direction = directionOf(glyph.letter);
    const run = runs.at(-1);
    const step = before ? glyph.left - before.left : 0;
    const goesOn = direction === "right-to-left" ? step < glyph.top - glyph.bottom : step >= 0;
    if (run && run.direction === direction && direction !== "neutral" && goesOn) {
      Object.assign(run, spanOf([run, glyph]), { letter: run.letter + glyph.letter });
    } else runs.push({ ...glyph, direction });
    before = glyph;
  }
  return runs;
}

/** How many runs from `start` on are of that direction, with what parts them. */
function countForeign(runs: readonly Run[], start: number, foreign: Direction): number {
  let end = start + 1;
  for (let at = end; at < runs.length; at += 1) {
    const [run, before] = [runs[at], runs[end - 1]];
    if (run?.direction === "neutral") continue;
    if (run?.direction !== foreign) break;
    // Numbers with a space between are each for themselves (UAX 9, rules N1 and N2).
    if (isSpace(runs[at - 1]) && isNumber(run) && isNumber(before)) break;
    end = at + 1;
  }
  return end - start;
}

const OPENING = "([{«";
const CLOSING = ")]}»";

/** Many programs write brackets as they look in a line from the right: turned round. */
function turnBrackets(text: string): string {
  const brackets = text.match(/[()[\]{}«»]/g) ?? [];
  const [first = "", last = ""] = [brackets[0], brackets.at(-1)];
  if (!first || !CLOSING.includes(first) || !OPENING.includes(last)) return text;
  return text
    .replace(/[([{«]|([)\]}»])/g, (one, closing) =>
      closing ? OPENING.charAt(CLOSING.indexOf(one)) : CLOSING.charAt(OPENING.indexOf(one)),
    )
    .replace(/ ([)\]}»])(?=[\p{L}\p{N}])/gu, "$1 ");
}

/** The way back from UAX 9's display order. The line has the direction of most of its words. */
function readLine(line: readonly Glyph[]): string {
  const runs = runsOf(line);
  const words = (direction: Direction) =>
    runs.filter((run) => run.direction === direction && !isNumber(run)).length;
  const isFromRight = words("right-to-left") >= words("left-to-right");
  const foreign = isFromRight ? "left-to-right" : "right-to-left";
  const place = (run: Run) => (isFromRight ? -1 : 1) * (run.left + run.right);
  runs.sort((a, b) => place(a) - place(b));
  const parts: string[] = [];
  for (let at = 0; at < runs.length; ) {
    const count = runs[at]?.direction === foreign ? countForeign(runs, at, foreign) : 1;
    const group = runs.slice(at, at + count).reverse();
    parts.push(group.map((run) => run.letter).join(""));
    at += count;
  }
  return isFromRight ? turnBrackets(parts.join("")) : parts.join("");
}

/**
 * The text of a page. PDFium gives lines with Arabic in the order in which they were drawn, so that
 * what a reader sees as one line may come as several, its words and numbers mixed up.
 */
export function readLines(glyphs: readonly Glyph[]): string {
  const lines: Glyph[][] = [[]];
  for (const glyph of glyphs) {
    if (glyph.letter === "\n") lines.push([]);
    else if (glyph.letter !== "\r") lines.at(-1)?.push(glyph);
  }
  const whole: Glyph[][] = [];
  for (const line of lines) {
    const before = whole.at(-1) ?? [];
    const hasArabic = isArabic(before) || isArabic(line);
    if (hasArabic && before.length > 0 && line.length > 0 && isOneLine(before, line)) {
      for (const glyph of line) before.push(glyph);
    } else whole.push(line);
  }
  return whole
    .map((line) => {
      const isMixed = line.some(({ letter }) => directionOf(letter) === "left-to-right");
      const swapped = isArabic(line) ? swapMarks(line) : line;
      if (isArabic(line) && isMixed) return readLine(swapped);
      const text = swapped.map(({ letter }) => letter).join("");
      return isArabic(line) ? turnBrackets(text) : text;
    })
    .join("\n");
}
