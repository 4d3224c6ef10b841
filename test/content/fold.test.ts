import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import fc from "fast-check";
import { fold } from "../../src/content/fold.ts";

const wordsOf = (folded: string) => folded.split(" ").filter((word) => word !== "");
const TEXTS = fc.string({
  unit: fc.oneof(
    fc.constantFrom(
      ..."aB é\u0301ß_'-.ـّأةیﷺﻻﹰ٣۴½ⅷ\u200d\u200f\ufeff😀𝒜𞤀𞤢हिन्दीไทยがか\u3099漢字\0\n\"*",
    ),
    fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
  ),
  maxLength: 60,
});

test("letters, digits and marks stay as words, all else separates them", () => {
  const cases: [string, string][] = [
    ["", " "],
    ["…!", " "],
    ["a_b-c'd", " a b c d "],
    ["1,234.50 €", " 1 234 50 "],
    ["शब्द भाषा", " शब्द भाषा "],
    ["ภาษาไทย", " ภาษาไทย "],
    ["漢字かな", " 漢字かな "],
    ["😀x😀y", " x y "],
    ["𝒜𝟙 𞤀", " a1 𞤢 "],
    ["½ ⑴ ﷺ", " 1 2 1 صلي الله عليه وسلم "],
    ["\ud800a\udc00b", " a b "],
    ["شيء ماء", " شيء ماء "],
    ["مـــا بِسْمِ ﹰ ﷲ", " ما بسم الله "],
  ];
  for (const [text, folded] of cases) assert.equal(fold(text), folded, text);
});

test("any text folds to words between single spaces, and once folded stays as it is", () => {
  fc.assert(
    fc.property(TEXTS, (text) => {
      const folded = fold(text);
      assert.match(folded, /^ (?:[^\s]+ )*$/);
      assert.equal(fold(folded), folded);
      assert.equal(
        ` ${wordsOf(folded)
          .map((word) => `${word} `)
          .join("")}`,
        folded,
      );
    }),
    { numRuns: 500 },
  );
});

test("offsets lead from each folded unit to where it comes from, spaces to the end of a word", () => {
  fc.assert(
    fc.property(TEXTS, (text) => {
      const offsets: number[] = [];
      const folded = fold(text, offsets);
      assert.equal(offsets.length, folded.length);
      for (let start = 1; start < folded.length; start = folded.indexOf(" ", start) + 1) {
        const end = folded.indexOf(" ", start);
        const original = text.slice(offsets[start], offsets[end]);
        assert.ok(fold(original).includes(folded.slice(start, end)), original);
      }
    }),
    { numRuns: 500 },
  );
});

test("a character folds the same whatever was folded before it", () => {
  const all = Array.from({ length: 0x20000 }, (_, at) => String.fromCodePoint(0x10000 + at)).join(
    "",
  );
  const folded = fold(all);
  assert.equal(fold(all), folded);
  assert.equal(fold("𝒜𝟙 𞤀 ½"), " a1 𞤢 1 2 ");
});

test("FTS5 splits a folded text where its spaces are, whatever its script", () => {
  const database = new DatabaseSync(":memory:");
  database.exec("CREATE VIRTUAL TABLE texts USING fts5(text, tokenize = 'ascii')");
  database.exec("CREATE VIRTUAL TABLE words USING fts5vocab(texts, 'instance')");
  const insert = database.prepare("INSERT INTO texts (text) VALUES (?)");
  const select = database.prepare("SELECT term FROM words ORDER BY offset");
  fc.assert(
    fc.property(TEXTS, (text) => {
      database.exec("DELETE FROM texts");
      insert.run(fold(text));
      assert.deepEqual(
        select.all().map((row) => row.term),
        wordsOf(fold(text)),
      );
    }),
  );
  database.close();
});
