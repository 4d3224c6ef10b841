import assert from "node:assert/strict";
import { test } from "node:test";
import { Unreadable } from "../../src/worker/limits.ts";
import { countWords, languageOf, readPlainText, tidy } from "../../src/worker/text.ts";

const ARABIC = "محضر اجتماع، ينتقل الأرشيف إلى المبنى الجديد في مايو.\n";
const ENGLISH = "The archive moves to the new building in May.\n";
const FRENCH = "L’été dernier, où étaient les élèves ? Ça coûte 5 €.\n";
const GERMAN = "Größere Äpfel fürs Mädchen: süß, schön, übrig.\n";
const SPANISH = "El año próximo la señora vendrá también, ¿no?\n";

/** Encodes by asking the decoder what each byte is. */
function encode(text: string, label: string): Buffer {
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, at) => at));
  const letters = [...new TextDecoder(label).decode(bytes)];
  return Buffer.from(
    Array.from(text, (letter) => {
      assert.ok(letters.includes(letter), `${label} has no ${letter}`);
      return letters.indexOf(letter);
    }),
  );
}
const swapped = (text: string) => Buffer.from(text, "utf16le").swap16();

test("each encoding of a text file is told from the others", () => {
  for (const text of [ARABIC, ENGLISH, FRENCH, ARABIC + ENGLISH, "", "é", "م"]) {
    assert.equal(readPlainText(Buffer.from(text)), text);
    assert.equal(readPlainText(Buffer.from(`\ufeff${text}`)), text);
    assert.equal(readPlainText(Buffer.from(`\ufeff${text}`, "utf16le")), text);
    assert.equal(readPlainText(swapped(`\ufeff${text}`)), text);
  }
  for (const text of [ARABIC, ENGLISH, ARABIC + ENGLISH, FRENCH]) {
    assert.equal(readPlainText(Buffer.from(text, "utf16le")), text);
    assert.equal(readPlainText(swapped(text)), text);
  }
  for (const text of [ARABIC, ENGLISH + ARABIC, `${ENGLISH}${ENGLISH}مايو`]) {
    assert.equal(readPlainText(encode(text, "windows-1256")), text);
  }
  for (const text of [FRENCH, GERMAN, SPANISH]) {
    assert.equal(readPlainText(encode(text, "windows-1252")), text);
  }
});

test("bytes that are no text are refused", () => {
  for (const bytes of ["\0", "one\0two", "PK\x03\x04\x14\0\0\0", "\x7fELF\x02\x01\x01\0\0\0\0"]) {
    assert.throws(() => readPlainText(Buffer.from(bytes, "latin1")), Unreadable);
  }
});

test("shapes become letters, and what is only for display goes", () => {
  assert.equal(tidy("\ufee3\ufea4\ufec0\ufeae \ufefb \ufdf2"), "محضر لا الله");
  assert.equal(tidy("\u200eA\u202bB\u0007C\ufeff\ufffe"), "ABC");
  assert.equal(tidy("\n\n one  \r\ntwo\f\n\n\n\nthree\t \n"), " one\ntwo\n\nthree");
  assert.equal(tidy("مى\u200cخواهم e\u0301"), "مى\u200cخواهم e\u0301", "what makes a word stays");
});

test("words are counted, and the language is its script's", () => {
  assert.equal(countWords("نُرسل 2,184 units — e\u0301te\u0301!"), 5);
  assert.equal(languageOf("12 — 14"), "und");
  assert.equal(languageOf("Привет"), "und");
  assert.equal(languageOf("Total مجموع"), "ar");
  assert.equal(languageOf("Totals مجموع"), "en");
});

test("runs of some megabytes take neither the stack nor the time", () => {
  assert.equal(countWords(`${"\u0301".repeat(4_900_000)} ${"م1".repeat(2_000_000)}`), 2);
  const started = performance.now();
  const wide = `x${" ".repeat(200_000)}y`;
  assert.equal(tidy(wide), wide);
  const seconds = (performance.now() - started) / 1_000;
  assert.ok(seconds < 3, `${seconds} seconds for a run of spaces`);
});
