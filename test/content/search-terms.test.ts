import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { fold } from "../../src/content/fold.ts";
import { needleOf, parseSearch } from "../../src/content/search-terms.ts";

/** Words of a term with a space between, `*` for a prefix. */
const read = (q: string) =>
  parseSearch(q).map(({ words, isPrefix }) => `${words.join(" ")}${isPrefix ? "*" : ""}`);

test("words, phrases and prefixes", () => {
  const cases: [string, string[]][] = [
    ["annual Report", ["annual", "report"]],
    ['"annual report" 2026', ["annual report", "2026"]],
    ["“annual report” «التقرير السنوي»", ["annual report", "التقرير السنوي"]],
    ["invo*", ["invo*"]],
    ["invo* due", ["invo*", "due"]],
    ['"amount du*"', ["amount du*"]],
    ["well-known", ["well known"]],
    ["well-kno*", ["well kno*"]],
    ["QMR-2026-0317", ["qmr 2026 0317"]],
    ["٢٠٢٦/٠٣", ["2026 03"]],
    ["don't", ["don t"]],
    ["مُحَمَّد*", ["محمد*"]],
    ["in*vo", ["in vo"]],
    ["**invo**", ["invo*"]],
    ["tab\tand\nline", ["tab", "and", "line"]],
  ];
  for (const [q, terms] of cases) assert.deepEqual(read(q), terms, q);
});

test("nothing else has a meaning", () => {
  const cases: [string, string[]][] = [
    ["", []],
    [" * ", []],
    ['"" "…"', []],
    ["foo- *", ["foo"]],
    ["foo-*", ["foo"]],
    ["a*", ["a"]],
    ["aa* bb* cc*", ["aa*", "bb*", "cc"]],
    ["a AND b OR NOT c", ["a", "and", "b", "or", "not", "c"]],
    ["-a ^b c:d (e) {f} +g", ["a", "b", "c d", "e", "f", "g"]],
    ['"open phrase', ["open phrase"]],
    ['a"b c"d', ["a", "b c", "d"]],
    ["NEAR(a, 5)", ["near a", "5"]],
  ];
  for (const [q, terms] of cases) assert.deepEqual(read(q), terms, q);
});

test("any text gives at most 12 terms of folded words, two prefixes of two letters among them", () => {
  const texts = fc.string({
    unit: fc.oneof(fc.constantFrom(...' "*-ab'), fc.string({ unit: "binary", maxLength: 1 })),
    maxLength: 200,
  });
  fc.assert(
    fc.property(texts, (q) => {
      const terms = parseSearch(q);
      assert.ok(terms.length <= 12);
      assert.ok(terms.filter(({ isPrefix }) => isPrefix).length <= 2);
      for (const { words, isPrefix } of terms) {
        assert.ok(words.length > 0);
        assert.equal(fold(words.join(" ")), ` ${words.join(" ")} `);
        assert.ok(!isPrefix || (words.at(-1)?.length ?? 0) >= 2);
      }
    }),
    { numRuns: 500 },
  );
  assert.equal(parseSearch("word ".repeat(1_000)).length, 12);
});

test("a folded text has a term where it has its needle", () => {
  const text = fold("The well-known invoices");
  for (const q of ["the", '"well known"', "invo*", "invoices", '"known inv*"'])
    assert.ok(
      parseSearch(q).every((term) => text.includes(needleOf(term))),
      q,
    );
  for (const q of ["he", "known-well", "voices", "invoice", "nvo*"])
    assert.ok(!parseSearch(q).every((term) => text.includes(needleOf(term))), q);
});
