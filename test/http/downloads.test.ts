import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import {
  attachment,
  matchesIfNoneMatch,
  parseRange,
  rangeApplies,
} from "../../src/http/downloads.ts";

describe("Range", () => {
  const table: [string | undefined, number, ReturnType<typeof parseRange>][] = [
    [undefined, 10, undefined],
    ["bytes=0-0", 10, { start: 0, end: 0 }],
    ["bytes=0-", 10, { start: 0, end: 9 }],
    ["bytes=2-5", 10, { start: 2, end: 5 }],
    ["Bytes=2-5", 10, { start: 2, end: 5 }],
    ["bytes= 2-5 ", 10, { start: 2, end: 5 }],
    ["bytes=9-20", 10, { start: 9, end: 9 }],
    ["bytes=0-99999999999999999999999999", 10, { start: 0, end: 9 }],
    ["bytes=-3", 10, { start: 7, end: 9 }],
    ["bytes=-30", 10, { start: 0, end: 9 }],
    ["bytes=-0", 10, "unsatisfiable"],
    ["bytes=10-", 10, "unsatisfiable"],
    ["bytes=10-20", 10, "unsatisfiable"],
    ["bytes=99999999999999999999999999-", 10, "unsatisfiable"],
    ["bytes=0-", 0, "unsatisfiable"],
    ["bytes=-1", 0, undefined],
    ["bytes=5-2", 10, undefined],
    ["bytes=-", 10, undefined],
    ["bytes=", 10, undefined],
    ["bytes", 10, undefined],
    ["bytes=a-b", 10, undefined],
    ["bytes=1-2,4-5", 10, undefined],
    ["bytes=1.0-2", 10, undefined],
    ["bytes=+1-2", 10, undefined],
    ["items=1-2", 10, undefined],
    ["bytes=٠-٢", 10, undefined],
  ];
  for (const [header, size, expected] of table) {
    test(`${header} of ${size} bytes → ${JSON.stringify(expected)}`, () =>
      assert.deepEqual(parseRange(header, size), expected));
  }

  test("whatever is asked, a range lies within the bytes", () => {
    const part = fc.oneof(fc.nat().map(String), fc.constant(""), fc.string());
    fc.assert(
      fc.property(part, part, fc.nat({ max: 1000 }), (first, last, size) => {
        const range = parseRange(`bytes=${first}-${last}`, size);
        if (range === undefined || range === "unsatisfiable") return;
        assert.ok(0 <= range.start && range.start <= range.end && range.end < size);
      }),
    );
  });
});

describe("conditional requests", () => {
  const etag = '"abc"';
  const table: [string | undefined, boolean][] = [
    [undefined, false],
    ["*", true],
    ['"abc"', true],
    ['W/"abc"', true],
    ['"x", "abc"', true],
    ['"x,y",W/"abc"', true],
    ['"ab"', false],
    ["abc", false],
    ['"x, abc"', false],
    ["", false],
  ];
  for (const [header, expected] of table) {
    test(`If-None-Match: ${header} → ${expected ? "not modified" : "sent"}`, () =>
      assert.equal(matchesIfNoneMatch(header, etag), expected));
  }

  test("If-Range lets a range pass only for exactly the strong tag", () => {
    assert.equal(rangeApplies(undefined, etag), true);
    assert.equal(rangeApplies('"abc"', etag), true);
    for (const header of ['W/"abc"', '"abd"', "Wed, 21 Oct 2015 07:28:00 GMT", ""]) {
      assert.equal(rangeApplies(header, etag), false, header);
    }
  });
});

describe("Content-Disposition", () => {
  const table: [string, string][] = [
    ["report.pdf", `attachment; filename="report.pdf"; filename*=UTF-8''report.pdf`],
    [
      "تقرير.pdf",
      `attachment; filename="_____.pdf"; filename*=UTF-8''%D8%AA%D9%82%D8%B1%D9%8A%D8%B1.pdf`,
    ],
    [
      "a\"b\\c'd(e)*%.x",
      `attachment; filename="a_b_c'd(e)*_.x"; filename*=UTF-8''a%22b%5Cc%27d%28e%29%2A%25.x`,
    ],
    [
      "a\r\nSet-Cookie: x",
      `attachment; filename="a__Set-Cookie: x"; filename*=UTF-8''a%0D%0ASet-Cookie%3A%20x`,
    ],
    ["😀", `attachment; filename="_"; filename*=UTF-8''%F0%9F%98%80`],
    ["\ud800", `attachment; filename="_"; filename*=UTF-8''%EF%BF%BD`],
  ];
  for (const [name, expected] of table) {
    test(`of ${JSON.stringify(name)}`, () =>
      assert.equal(attachment(name)["Content-Disposition"], expected));
  }

  test("any name comes back from filename*, in a header of harmless ASCII", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (name) => {
        const header = attachment(name)["Content-Disposition"] ?? "";
        const match =
          /^attachment; filename="([^"\\%]*)"; filename\*=UTF-8''([!#$&+.^_`|~0-9A-Za-z%-]*)$/.exec(
            header,
          );
        assert.ok(match, header);
        assert.match(header, /^[\x20-\x7e]*$/);
        assert.equal(decodeURIComponent(match[2] ?? ""), name.toWellFormed());
      }),
    );
  });
});
