/** A character of a text layer and its box in points. The page's left bottom corner is 0, 0. */
export interface Glyph {
  letter: string;
  left: number;
  right: number;
  bottom: number;
  top: number;
}

const ARABIC = /[\p{Script=Arabic}\p{Script=Hebrew}]/u;

/** R: written from the right, L: from the left, D: of a number, S: a space, N: any other. */
function kindOf(letter: string): "R" | "L" | "D" | "S" | "N" {
  if (/\p{N}/u.test(letter)) return "D";
  if (letter.trim() === "") return "S";
  if (/\p{P}/u.test(letter)) return "N";
  if (ARABIC.test(letter) || /\p{M}/u.test(letter)) return "R";
  return /\p{L}/u.test(letter) ? "L" : "N";
}

const textOf = (line: readonly Glyph[]) => line.map(({ letter }) => letter).join("");
const isArabic = (line: readonly Glyph[]) => ARABIC.test(textOf(line));

const unite = (a: Glyph, b: Glyph): Glyph => ({
  letter: a.letter + b.letter,
  left: Math.min(a.left, b.left),
  right: Math.max(a.right, b.right),
  bottom: Math.min(a.bottom, b.bottom),
  top: Math.max(a.top, b.top),
});

/** Whether a line with Arabic has both: at the same height, and no column's gap between them. */
function isOneLine(one: readonly Glyph[], other: readonly Glyph[]): boolean {
  if (one.length === 0 || other.length === 0 || !isArabic([...one, ...other])) return false;
  const [a, b] = [one.reduce(unite), other.reduce(unite)];
  const height = Math.min(a.top - a.bottom, b.top - b.bottom);
  const overlap = Math.min(a.top, b.top) - Math.max(a.bottom, b.bottom);
  const gap = Math.max(a.left, b.left) - Math.min(a.right, b.right);
  return overlap > height / 2 && gap < height * 1.5;
}

/** Whether two letters are one glyph, a ligature or a letter with marks, which come backwards. */
function isOneGlyph(last: Glyph, glyph: Glyph): boolean {
  const touch = (a: number, b: number) => Math.abs(a - b) < 0.01;
  return (
    last.bottom === glyph.bottom &&
    last.top === glyph.top &&
    kindOf(glyph.letter) === "R" &&
    ARABIC.test(last.letter + glyph.letter) &&
    (touch(last.right, glyph.left) ||
      (/^\p{M}/u.test(last.letter) && touch(last.left, glyph.right)))
  );
}

function listRuns(line: readonly Glyph[]): Glyph[] {
  const runs: Glyph[] = [];
  let before = "";
  for (const glyph of line) {
    const kind = kindOf(glyph.letter);
    const run = runs.at(-1);
    const step = run ? glyph.left - run.left : 0;
    const goesOn = kind === "R" ? step < glyph.top - glyph.bottom : /[LD]/.test(kind) && step >= 0;
    if (run && kind === before && goesOn) runs[runs.length - 1] = unite(run, glyph);
    else runs.push(glyph);
    before = kind;
  }
  return runs;
}

/** Many programs write brackets as they look in a line from the right: turned round. */
function turnBrackets(text: string): string {
  if (!/^[^([{«]*[)\]}»].*[([{«][^)\]}»]*$/s.test(text)) return text;
  return text.replace(/[()[\]{}«»]/g, (one) => ")(][}{»«".charAt("()[]{}«»".indexOf(one)));
}

/** Words and numbers from the left in a line from the right (UAX 9, rules N1 and N2). */
const FROM_LEFT = /[LD](?:N*[LD]|[NS]*L|(?<=L)[NS]*D)*/g;
const FROM_RIGHT = /R(?:[NS]*R)*/g;

/** The way back from UAX 9's display order. The line has the direction of most of its words. */
function readLine(line: readonly Glyph[]): string {
  const runs = listRuns(line);
  const listKinds = () => runs.map(({ letter }) => kindOf(letter)).join("");
  const count = (words: RegExp) => listKinds().match(words)?.length ?? 0;
  const isFromRight = count(/R+/g) >= count(/L[LDN]*/g);
  // Letters from the right alone are in order, and their boxes may overlap.
  if (count(/[LD]/g) > 0) {
    const place = (run: Glyph) => (isFromRight ? -1 : 1) * (run.left + run.right);
    runs.sort((a, b) => place(a) - place(b));
    const foreign = isFromRight ? FROM_LEFT : FROM_RIGHT;
    for (const { 0: kinds, index } of listKinds().matchAll(foreign))
      runs.splice(index, kinds.length, ...runs.slice(index, index + kinds.length).reverse());
  }
  return isFromRight ? turnBrackets(textOf(runs)) : textOf(runs);
}

/** The text of a page. PDFium gives lines with Arabic in pieces, in the order of their drawing. */
export function readLines(glyphs: readonly Glyph[]): string {
  const pieces: Glyph[][] = [[]];
  for (const glyph of glyphs) {
    const piece = pieces.at(-1) ?? [];
    const last = piece.at(-1);
    if (glyph.letter === "\n") pieces.push([]);
    else if (last && isOneGlyph(last, glyph)) piece[piece.length - 1] = unite(glyph, last);
    else if (glyph.letter !== "\r") piece.push(glyph);
  }
  const lines: Glyph[][] = [];
  for (const piece of pieces) {
    const line = lines.at(-1) ?? [];
    if (isOneLine(line, piece)) for (const glyph of piece) line.push(glyph);
    else lines.push(piece);
  }
  return lines.map((line) => (isArabic(line) ? readLine(line) : textOf(line))).join("\n");
}
