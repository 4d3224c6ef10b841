import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { fold } from "../../src/content/fold.ts";
import { needleOf, parseSearch } from "../../src/content/search-terms.ts";
import { snippetOf } from "../../src/content/snippet.ts";

const marked = (text: string, q: string) => {
  const snippet = snippetOf(text, parseSearch(q));
  return snippet.marks.map(([start, end]) => snippet.text.slice(start, end));
};
const filler = "lorem ipsum dolor sit amet ".repeat(40);

test("marks whole words: a phrase as one, of a prefix the word that it begins", () => {
  assert.deepEqual(marked("The Invoices are due", "invo* due"), ["Invoices", "due"]);
  assert.deepEqual(marked("a well-known, well known thing", "well-known"), [
    "well-known",
    "well known",
  ]);
  assert.deepEqual(marked("net net net", "net"), ["net", "net", "net"]);
  assert.deepEqual(marked("net net net", '"net net"'), ["net net"]);
  assert.deepEqual(marked("net net net", 'net "net net"'), ["net net", "net"]);
  assert.deepEqual(marked("هذه مُحَمَّدٌ، وبيته", "محمد"), ["مُحَمَّدٌ"]);
  assert.deepEqual(marked("straße STRASSE", "strasse"), ["straße", "STRASSE"]);
  assert.deepEqual(marked("other words", "absent"), []);
});

test("is the beginning where there is no hit, all of a short text, nothing of none", () => {
  assert.deepEqual(snippetOf("", parseSearch("x")), { text: "", marks: [] });
  assert.deepEqual(snippetOf("  a\r\n\tb\0 ", parseSearch("x")), { text: "a b", marks: [] });
  const { text, marks } = snippetOf(filler, parseSearch("x"));
  assert.deepEqual(marks, []);
  assert.ok(text.startsWith("lorem ipsum") && text.length > 160 && text.length <= 200);
});

test("shows the place where most terms stand together, cut between words", () => {
  const text = `${filler} alpha ${filler} alpha alpha ${filler} alpha\n\n near  beta ${filler} beta`;
  const snippet = snippetOf(text, parseSearch("alpha beta"));
  assert.match(
    snippet.text,
    /^(lorem|ipsum|dolor|sit|amet) .*alpha near beta.* (lorem|ipsum|dolor|sit|amet)$/,
  );
  assert.deepEqual(marked(text, "alpha beta"), ["alpha", "beta"]);
  assert.ok(snippet.text.length <= 230, String(snippet.text.length));
});

test("looks at the first 20,000 units, and at 200,000 when those lack a term", () => {
  const far = `alpha ${"x ".repeat(12_000)}alpha beta`;
  assert.deepEqual(marked(far, "alpha"), ["alpha"]);
  assert.deepEqual(marked(far, "alpha beta"), ["alpha", "beta"]);
  assert.deepEqual(marked(`beta ${filler}${far}`, "alpha beta"), ["beta"]);
  const text = `${"x ".repeat(100_000)}needle`;
  assert.deepEqual(marked(text, "needle"), []);
  assert.deepEqual(marked(text.slice(20), "needle"), ["needle"]);
});

test("keeps characters whole and marks right in any text", () => {
  const words = fc.constantFrom(
    "net",
    "الصافي",
    "ﷺ",
    "😀",
    "𝒜𝒜",
    "Straße",
    "漢".repeat(120),
    "😀".repeat(90),
  );
  const gaps = fc.constantFrom(" ", "\n\n ", "-", "\u200f", ". ", "");
  const texts = fc
    .array(fc.tuple(words, gaps), { maxLength: 80 })
    .map((parts) => parts.flat().join(""));
  const queries = fc.constantFrom(
    "net",
    "صافي الصافي",
    "الله",
    "aa strasse",
    "漢*",
    '"net net"',
    "st*",
  );
  fc.assert(
    fc.property(texts, queries, (text, q) => {
      const terms = parseSearch(q);
      const snippet = snippetOf(text, terms);
      assert.ok(snippet.text.isWellFormed());
      assert.doesNotMatch(snippet.text, /\s\s|^\s|\s$|[\n\0]/);
      assert.ok(snippet.text.length <= 200, `${snippet.text.length} units`);
      let last = 0;
      for (const [start, end] of snippet.marks) {
        assert.ok(last <= start && start < end && end <= snippet.text.length);
        last = end;
      }
      const isHit = terms.some((term) => fold(text).includes(needleOf(term)));
      assert.equal(snippet.marks.length > 0, isHit);
    }),
    { numRuns: 500 },
  );
});
