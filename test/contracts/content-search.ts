import assert from "node:assert/strict";
import type { ContentStore, ExtractedText, Hits } from "../../src/content/content-store.ts";
import { parseSearch } from "../../src/content/search-terms.ts";

type Check = (store: ContentStore, another: () => ContentStore) => Promise<void>;
type TextOf = (docId: number, changes?: Partial<ExtractedText>) => ExtractedText;

const OWNER = 7;
const OTHER = 8;

/** Both ways: what is stored on one side is found by the other. */
const FOLDED_ALIKE: [string, string][] = [
  ["أحمد إبراهيم آمنة ٱلكتاب", "احمد ابراهيم امنه الكتاب"],
  ["مستشفى", "مستشفي"],
  ["مدرسة", "مدرسه"],
  ["مسؤول", "مسوول"],
  ["رئيس", "رييس"],
  ["مُحَمَّدٌ", "محمد"],
  ["هٰذا", "هذا"],
  ["الـــعربية", "العربية"],
  ["هیئت کتاب", "هييت كتاب"],
  ["ﻻﺗﻔﺎﻕ", "لاتفاق"],
  ["١٤٤٧", "1447"],
  ["۱۴۰۵", "1405"],
  ["ＩＮＶＯＩＣＥ", "invoice"],
  ["RÉSUMÉ", "resume"],
  ["re\u0301sume\u0301", "résumé"],
  ["Straße", "STRASSE"],
  ["Ærø", "aero"],
  ["ﬁnance", "finance"],
  ["ΟΔΟΣ", "οδος"],
  ["can\u00adcel", "cancel"],
  ["\u200fعقد\u200f", "عقد"],
  ["l’homme", "l'homme"],
];

/** The promises of `search`, `listUnindexed` and `index`. */
export function searchPromises(promise: (title: string, check: Check) => void, textOf: TextOf) {
  const put = (
    store: ContentStore,
    docId: number,
    text: string,
    ownerId?: number,
    name = "a.pdf",
  ) => store.put(textOf(docId, { extracted_text: text, filename: name }), ownerId);

  promise("finds by folded words, from either side", async (store) => {
    let docId = 0;
    for (const [one, other] of FOLDED_ALIKE) {
      await put(store, ++docId, `before ${one} after`, OWNER);
      assert.deepEqual(await found(store, other), [docId], other);
      await store.delete(docId);
      await put(store, ++docId, `قبل ${other} بعد`, OWNER);
      assert.deepEqual(await found(store, one), [docId], one);
      await store.delete(docId);
    }
  });

  promise("finds what has all words, in text or file name, and nothing else", async (store) => {
    await put(store, 1, "the annual report of the company", OWNER, "2025.pdf");
    await put(store, 2, "the annual meeting", OWNER, "Report_final.pdf");
    await put(store, 3, "a reporter at the annual fair", OWNER);
    assert.deepEqual((await found(store, "annual report")).sort(), [1, 2]);
    assert.deepEqual(await found(store, "2025 company"), [1]);
    assert.deepEqual(await found(store, "report final pdf meeting"), [2]);
    assert.deepEqual(await found(store, "annual missing"), []);
    assert.deepEqual(await found(store, "annua"), []);
  });

  promise("finds phrases in their order, within the text or the file name", async (store) => {
    await put(store, 1, "net income before tax", OWNER, "well.pdf");
    await put(store, 2, "income, net of tax", OWNER, "net-income 2026.pdf");
    await put(store, 3, "known tax", OWNER, "pdf well.known");
    assert.deepEqual((await found(store, '"net income"')).sort(), [1, 2]);
    assert.deepEqual(await found(store, '"income before"'), [1]);
    assert.deepEqual(await found(store, '"before income"'), []);
    assert.deepEqual(await found(store, "well-known"), [3]);
    // From the end of the name into the text.
    assert.deepEqual(await found(store, '"known known"'), []);
    assert.deepEqual(await found(store, '"net income" "of tax"'), [2]);
    await put(store, 4, "No. QMR-2026-0317 of May", OWNER);
    await put(store, 5, "2026 0317 QMR", OWNER);
    assert.deepEqual(await found(store, "qmr-2026-0317"), [4]);
    assert.deepEqual(await found(store, "“QMR ٢٠٢٦”"), [4]);
  });

  promise("finds by the beginning of a word, also of a phrase's last one", async (store) => {
    await put(store, 1, "Invoices of May", OWNER);
    await put(store, 2, "the invoice", OWNER);
    await put(store, 3, "a reinvoiced sum", OWNER, "x.pdf");
    await put(store, 4, "القانونية", OWNER);
    assert.deepEqual((await found(store, "invo*")).sort(), [1, 2]);
    assert.deepEqual(await found(store, "in* ma*"), [1]);
    assert.deepEqual(await found(store, '"the invo*"'), [2]);
    assert.deepEqual(await found(store, "القانون*"), [4]);
    assert.deepEqual(await found(store, "invoi"), []);
  });

  promise("takes the operators of every engine for text", async (store) => {
    await put(store, 1, "cats AND dogs", OWNER);
    await put(store, 2, "cats or dogs", OWNER);
    await put(store, 3, "filename text column", OWNER, "x.pdf");
    assert.deepEqual(await found(store, "cats AND dogs"), [1]);
    assert.deepEqual(await found(store, "cats OR dogs"), [2]);
    assert.deepEqual((await found(store, "cats -dogs")).sort(), [1, 2]);
    assert.deepEqual(await found(store, "filename:text"), [3]);
    assert.deepEqual(await found(store, "cats NEAR(dogs)"), []);
    const hostile = ['"cats', 'cats"', "(cats)", "^cats", "+cats", "{cats}", "cats;--", "[cats]"];
    for (const q of [...hostile, ".cats.", "cats$", "|cats|", "\\cats", "cats'", "cats\0"])
      assert.deepEqual((await found(store, q)).sort(), [1, 2], q);
    for (const q of ["c.ts", "cat?", "ca[t]s", "(?i)cats", "ca.*", "$text cats"])
      assert.deepEqual(await found(store, q), [], q);
  });

  promise("keeps owners apart: hits, totals and scores", async (store) => {
    for (let docId = 1; docId <= 5; docId++) await put(store, docId, `rare word ${docId}`, OWNER);
    const before = await search(store, "rare word");
    assert.equal(before.total, 5);
    for (let docId = 11; docId <= 40; docId++)
      await put(store, docId, "rare word rare", OTHER, "rare.pdf");
    assert.deepEqual(await search(store, "rare word"), before);
    assert.deepEqual(await found(store, "rare", 9), []);
    assert.equal((await store.search(parseSearch("rare"), undefined, ALL)).total, 35);
    assert.equal((await store.search(parseSearch("rare"), OTHER, ALL)).total, 30);
  });

  promise("puts first what has a term often, the newest of equals", async (store) => {
    await put(store, 1, `budget ${"filler ".repeat(60)}`, OWNER);
    await put(store, 2, `budget budget budget ${"filler ".repeat(58)}`, OWNER);
    await put(store, 3, `budget ${"filler ".repeat(60)}`, OWNER);
    const { hits } = await search(store, "budget");
    assert.deepEqual(
      hits.map((hit) => hit.docId),
      [2, 3, 1],
    );
    assert.ok((hits[0]?.score ?? 0) > (hits[1]?.score ?? 0));
    assert.equal(hits[1]?.score, hits[2]?.score);
  });

  promise("pages without repeating or skipping a hit", async (store) => {
    const ids = Array.from({ length: 230 }, (_, index) => index + 1);
    for (const docId of ids)
      await put(store, docId, `page ${"hit ".repeat(1 + (docId % 7))}`, OWNER);
    const seen: number[] = [];
    for (let skip = 0; skip < 240; skip += 30) {
      const { total, isExact, hits } = await store.search(parseSearch("hit"), OWNER, {
        skip,
        limit: 30,
      });
      assert.deepEqual([total, isExact], [230, true]);
      seen.push(...hits.map((hit) => hit.docId));
    }
    assert.equal(seen.length, 230);
    assert.deepEqual(
      seen.sort((a, b) => a - b),
      ids,
    );
    assert.deepEqual((await search(store, "hit", { skip: 230, limit: 5 })).hits, []);
  });

  promise("forgets the words of a text that is replaced or deleted", async (store) => {
    await put(store, 1, "first draft", OWNER, "one.pdf");
    await put(store, 1, "second draft", OWNER, "two.pdf");
    assert.deepEqual(await found(store, "first"), []);
    assert.deepEqual(await found(store, "one"), []);
    assert.deepEqual(await found(store, "second two"), [1]);
    assert.equal((await search(store, "draft")).total, 1);
    await store.delete(1);
    assert.deepEqual(await found(store, "draft"), []);
    await put(store, 1, "third", OTHER);
    assert.deepEqual(await found(store, "third"), []);
  });

  promise("finds a text without an owner as soon as it is indexed", async (store) => {
    await put(store, 1, "mine", OWNER);
    await put(store, 2, "foreign words");
    await put(store, 3, "foreign leftover");
    assert.deepEqual(await store.listUnindexed(1), [2]);
    assert.deepEqual(await store.listUnindexed(100), [2, 3]);
    assert.deepEqual(await found(store, "foreign", "everybody"), []);
    await store.index(2, OWNER);
    await store.index(3, undefined);
    await store.index(4, OWNER);
    assert.deepEqual(await store.listUnindexed(100), []);
    assert.deepEqual(await found(store, "foreign"), [2]);
    assert.deepEqual(await found(store, "foreign", "everybody"), [2]);
    const { processed_at } = textOf(2);
    const kept = textOf(2, { extracted_text: "foreign words", filename: "a.pdf", processed_at });
    assert.deepEqual(structuredClone(await store.get(2)), kept);
    await put(store, 2, "replaced by a program that knows no owner");
    assert.deepEqual(await found(store, "foreign"), []);
    assert.deepEqual(await store.listUnindexed(100), [2]);
    await store.index(2, OWNER);
    assert.deepEqual(await found(store, "replaced"), [2]);
  });

  promise("shows the place of the hits in the original text", async (store) => {
    const text = `${"كلام كثير ".repeat(60)}المُحاسبة\n\n السنوية 😀 Révenue ${"more words ".repeat(60)}`;
    await put(store, 1, text, OWNER);
    const [hit] = (await search(store, "محاسبه* revenue")).hits;
    assert.equal(hit, undefined);
    const [second] = (await search(store, "المحاسبه السنويه reven*")).hits;
    const marked = second?.snippet.marks.map(([from, to]) => second.snippet.text.slice(from, to));
    assert.deepEqual(marked, ["المُحاسبة", "السنوية", "Révenue"]);
    assert.match(second?.snippet.text ?? "", /المُحاسبة السنوية 😀 Révenue/);
    const byName = await search(store, "pdf");
    assert.deepEqual(byName.hits[0]?.snippet.marks, []);
    assert.match(byName.hits[0]?.snippet.text ?? "", /^كلام كثير/);
  });
}

const ALL = { skip: 0, limit: 100 };

function search(store: ContentStore, q: string, window = ALL): Promise<Hits> {
  return store.search(parseSearch(q), OWNER, window);
}

/** `"everybody"` is what an administrator asks for. */
async function found(store: ContentStore, q: string, owner: number | "everybody" = OWNER) {
  const ownerId = owner === "everybody" ? undefined : owner;
  const { hits, total, isExact } = await store.search(parseSearch(q), ownerId, ALL);
  assert.deepEqual([total, isExact], [hits.length, true]);
  return hits.map((hit) => hit.docId);
}
