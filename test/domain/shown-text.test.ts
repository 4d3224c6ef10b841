import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as v from "valibot";
import { fullName, username } from "../../src/domain/credentials.ts";
import { documentName } from "../../src/domain/filenames.ts";
import { newPath, pathUpdate, virtualPath } from "../../src/domain/paths.ts";
import { description } from "../../src/domain/text.ts";
import { AppError } from "../../src/errors.ts";

type Takes = (value: string) => boolean;

const parses =
  (schema: v.GenericSchema): Takes =>
  (value) =>
    v.is(schema, value);

function isFileName(value: string): boolean {
  try {
    return documentName(value) !== "";
  } catch (error) {
    assert.ok(error instanceof AppError && error.code === "validation_failed", String(error));
    return false;
  }
}

/** Each field that other people read. A user name is letters, so it takes less of what is good. */
const FIELDS: [field: string, takes: Takes][] = [
  ["a full name", parses(fullName)],
  ["a user name", parses(username)],
  ["a description", parses(description)],
  ["a new path", (value) => v.is(newPath, { full_path: value })],
  ["a deeper segment", (value) => v.is(newPath, { full_path: `archive/${value}/2026` })],
  ["a path's new name", (value) => v.is(pathUpdate, { full_path: `archive/${value}` })],
  ["a file name", isFileName],
];

const BAD: [kind: string, text: string][] = [
  ["a NUL", "report\0a"],
  ["a bell", "report\u0007a"],
  ["an escape sequence", "report\u001b[31m"],
  ["a delete", "report\u007fa"],
  ["a C1 control", "report\u0085a"],
  ["an override to the left", "report\u202efdp.exe"],
  ["an override to the right", "report\u202da"],
  ["an embedding", "report\u202aa"],
  ["an embedding to the left", "report\u202ba"],
  ["the end of one", "report\u202ca"],
  ["an isolate to the right", "report\u2066a"],
  ["an isolate to the left", "report\u2067a"],
  ["an isolate of its first letter", "report\u2068a"],
  ["the end of an isolate", "report\u2069a"],
  ["zero-width spaces alone", "\u200b".repeat(8)],
  ["joiners alone", "\u200c\u200d".repeat(4)],
  ["direction marks alone", "\u200e\u200f\u061c".repeat(3)],
  ["byte order marks alone", "\ufeff".repeat(8)],
  ["soft hyphens alone", "\u00ad".repeat(8)],
  ["Hangul fillers alone", "\u3164".repeat(8)],
  ["halfwidth fillers alone", "\uffa0\u115f\u1160".repeat(3)],
  ["Braille without dots alone", "\u2800".repeat(8)],
  ["tags alone", "\u{e0041}".repeat(8)],
  ["variation selectors alone", "\ufe0f".repeat(8)],
  ["word joiners and invisible operators alone", "\u2060\u2061\u2062\u2063\u2064\u180e\u034f"],
  ["annotation marks alone", "\ufff9\ufffa\ufffb".repeat(3)],
  ["combining marks alone", "\u0301\u0302\u0303\u0304\u0305\u0306\u0307"],
  ["Arabic vowel marks alone", "\u064b\u064c\u064d\u064e\u064f\u0650"],
  ["an enclosing mark at the beginning", "\u20ddreport"],
  ["a combining mark at the beginning", "\u0301report"],
  ["a vowel sign at the beginning", "\u093freport"],
  ["one behind what is invisible", "\u200b\u0301report"],
];

/** What stays allowed, and whether a user name may have it. */
const GOOD: [kind: string, text: string, isUserName: boolean][] = [
  ["Latin", "report_2026", true],
  ["Arabic", "تقرير_الربع", true],
  ["Arabic with vowel marks", "مُحَمَّد_علي", true],
  ["Hindi with vowel signs", "हिन्दी_रिपोर्ट", true],
  ["an accent of its own", "cafe\u0301_bar", true],
  ["Persian with a non-joiner", "می\u200cخواهم نامه", false],
  ["Arabic with a joiner", "ه\u200d ملفات", false],
  ["Arabic with a direction mark", "تقرير\u200f (٢٠٢٦)", false],
  ["an emoji of a family", "👨\u200d👩\u200d👧 photos", false],
  ["an emoji with a variation selector", "❤\ufe0f letters", false],
  ["a keycap", "1\ufe0f\u20e3 letter", false],
  ["a flag of tags", "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f} letters", false],
  ["an Arabic number sign", "\u0600١٢ letters", false],
];

for (const [field, takes] of FIELDS) {
  describe(field, () => {
    for (const [kind, text] of BAD) {
      test(`is refused: ${kind}`, () => assert.equal(takes(text), false));
    }
    for (const [kind, text, isUserName] of GOOD) {
      const expected = isUserName || field !== "a user name";
      test(`${expected ? "is taken" : "is refused"}: ${kind}`, () =>
        assert.equal(takes(text), expected));
    }
  });
}

test("a description alone may have several lines, and may be empty", () => {
  assert.ok(v.is(description, "one\r\ntwo\n\tthree"));
  assert.ok(v.is(description, ""));
  for (const [field, takes] of FIELDS)
    if (field !== "a description")
      for (const end of ["\n", "\t", "\u2028", "\u2029"])
        assert.equal(takes(`report${end}2026`), false, `${field} with ${JSON.stringify(end)}`);
});

test("a path that stands already is found under the name that it has", () => {
  assert.ok(v.is(virtualPath, "old\u202ename"));
});
