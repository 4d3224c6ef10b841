import assert from "node:assert/strict";
import { test } from "node:test";
import { type Glyph, readLines } from "../../src/worker/pdf-lines.ts";

const WIDTH = 5;

/** A word that is drawn from `x` on, to the right or to the left. */
function word(letters: string, x: number, y: number, step: number): Glyph[] {
  return Array.from(letters, (letter, at) => {
    const left = x + at * step - (step < 0 ? WIDTH : 0);
    return { letter, left, right: left + WIDTH, bottom: y, top: y + 10 };
  });
}
const ltr = (letters: string, left: number, y = 0) => word(letters, left, y, WIDTH);
const rtl = (letters: string, right: number, y = 0) => word(letters, right, y, -WIDTH);
const BREAK: Glyph = { letter: "\n", left: 0, right: 0, bottom: 0, top: 0 };

test("a line with Arabic is read from the right, and what is foreign in it from the left", () => {
  // As PDFium gives it: the end of the line first, then its beginning with the reference torn.
  const line = [
    ...rtl("هذا التقرير.", 100),
    BREAK,
    ...rtl("المرجع: ", 250),
    ...ltr("-2026", 180),
    ...ltr("QMR", 165),
    ...rtl(". عد ", 165 - 40),
  ];
  assert.equal(readLines(line), "المرجع: QMR-2026. عد هذا التقرير.");
});

test("numbers in a row of a table are each for themselves", () => {
  const row = [...rtl("مضخة ", 100), ...ltr("12.5", 50), ...rtl(" ", 50), ...ltr("7,925", 15)];
  assert.equal(readLines(row), "مضخة 12.5 7,925");
  const date = [...rtl("في ", 100), ...ltr("١٤/٣/٢٠٢٦", 40), ...rtl(" م", 40)];
  assert.equal(readLines(date), "في ١٤/٣/٢٠٢٦ م");
});

test("an English line keeps its direction, and the Arabic in it its own", () => {
  const line = [...ltr("Say ", 0), ...rtl("هنا", 35), ...rtl(" ", 40), ...rtl("كان", 55)];
  const whole = [...line, ...ltr(" for now", 55)];
  assert.equal(readLines(whole), "Say كان هنا for now");
});

test("a mark follows its letter where one glyph is both", () => {
  const glyphs = [...rtl("ع", 30), ...rtl("ّ", 20), ...rtl("د", 25), ...rtl("ه", 15)];
  assert.equal(readLines(glyphs), "عدّه");
  // The other way to cut the box: the mark on the letter's right.
  const above = { ...BREAK, bottom: 7, top: 9 };
  const marked = ["ً", "ع"].map((letter, at) => ({ ...above, letter, left: 5 - at, right: 6 - at }));
  assert.equal(readLines([...rtl("رب", 30), ...marked, ...rtl("ا", 4)]), "ربعًا");
});

test("letters of a ligature are in their order", () => {
  const ligature = [...rtl("أ", 20), ...rtl("ل", 25)];
  assert.equal(readLines([...rtl("ا", 30), ...ligature, ...rtl("ول", 15)]), "الأول");
});

test("an address counts as one word for the direction of its line", () => {
  const line = [...rtl("انظر ", 150), ...ltr("www.example.com", 50), ...rtl(" هنا", 50)];
  assert.equal(readLines(line), "انظر www.example.com هنا");
});

test("brackets that are turned round are turned back", () => {
  assert.equal(readLines(rtl("شركة )النور( و]الأمل[", 200)), "شركة (النور) و[الأمل]");
  assert.equal(readLines(rtl("شركة (النور) 1)", 200)), "شركة (النور) 1)");
  const mixed = [...rtl("شركة )", 200), ...ltr("Nile", 150), ...rtl("( و", 150)];
  assert.equal(readLines(mixed), "شركة (Nile) و");
  assert.equal(readLines(ltr("a) b (c", 0)), "a) b (c");
});

test("columns, lines below and lines without Arabic are left as they come", () => {
  const columns = [...rtl("أول", 300), BREAK, ...rtl("ثان", 200)];
  assert.equal(readLines(columns), "أول\nثان");
  const below = [...rtl("أول", 300), BREAK, ...rtl("ثان", 280, -12)];
  assert.equal(readLines(below), "أول\nثان");
  const latin = [...ltr("one", 50), BREAK, ...ltr("two", 65), BREAK, BREAK];
  assert.equal(readLines(latin), "one\ntwo\n\n");
  assert.equal(readLines(ltr("e\u0301te\u0301", 0)), "e\u0301te\u0301");
  assert.equal(readLines([]), "");
});
