import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

const CHECKOUT = join(import.meta.dirname, "..");
const SECURITY = await readFile(join(CHECKOUT, "SECURITY.md"), "utf8");

/** Number, requirement, answer, proof. */
const ROWS = [...SECURITY.matchAll(/^\| (\d[\d.]*) \| (.*?) \| (.*?) \| (.*) \|$/gm)];

test("every file that SECURITY.md names exists", async () => {
  const named = [...SECURITY.matchAll(/`((?:src|test)\/[^`]+)`/g)].map(([, path = ""]) => path);
  assert.ok(named.length > 100);
  for (const path of new Set(named)) await readFile(join(CHECKOUT, path));
});

test("each requirement is answered once, with a proof or a reason", () => {
  const numbers = ROWS.map(([, number]) => number);
  assert.equal(new Set(numbers).size, numbers.length);
  for (const [line, , , answer = "", proof = ""] of ROWS) {
    assert.match(answer, /^(yes|no|n\/a)$/, line);
    assert.notEqual(proof.trim(), "", line);
  }
});

test("the chapters on validation, files, accounts, tokens and logs are whole, at levels 1 and 2", () => {
  /** How many requirements of these levels each section of ASVS 5.0.0 has: they come first. */
  const chapters = {
    2: [3, 3, 4, 1],
    5: [1, 3, 2, 3],
    6: [3, 12, 4, 4, 5, 3, 0, 4],
    7: [3, 4, 2, 5, 2, 2],
    8: [2, 3, 1, 1],
    9: [3, 4],
    16: [1, 5, 4, 3, 3],
  };
  const expected = Object.entries(chapters).flatMap(([chapter, sections]) =>
    sections.flatMap((count, section) =>
      Array.from({ length: count }, (_, index) => `${chapter}.${section + 1}.${index + 1}`),
    ),
  );
  const answered = ROWS.map(([, number = ""]) => number);
  const inWhole = answered.filter((number) => (number.split(".")[0] ?? "") in chapters);
  assert.deepEqual(inWhole.sort(), expected.sort());
});
