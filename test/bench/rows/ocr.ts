import type { Bench } from "../contest.ts";
import { type BenchPage, drawPages } from "../ocr-pages.ts";

/** The text on one line, without the marks of direction that the engine adds. */
const plain = (text: string): string =>
  text
    .normalize("NFC")
    .replace(/[\u200e\u200f\u202a-\u202e]/g, "")
    .replace(/\s+/g, " ")
    .trim();

/** As a search folds it. */
const folded = (text: string): string =>
  plain(text)
    .normalize("NFKD")
    .replace(/\p{M}|\u0640/gu, "")
    .replaceAll("ى", "ي")
    .replaceAll("ة", "ه")
    .replace(/[٠-٩]/g, (digit) => String(digit.charCodeAt(0) - 0x660))
    .toLowerCase();

/** The Levenshtein distance over the length of what is expected. */
function errorRate(expected: string, got: string): number {
  let row = Array.from({ length: got.length + 1 }, (_, index) => index);
  for (let i = 1; i <= expected.length; i++) {
    const next = [i];
    for (let j = 1; j <= got.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (expected[i - 1] === got[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return (row[got.length] ?? 0) / expected.length;
}

/** The share of words that aren't found. */
function missedWords(expected: string, got: string): number {
  const wordsOf = (text: string): string[] => folded(text).match(/[\p{L}\p{N}]+/gu) ?? [];
  const found = wordsOf(got);
  const missed = wordsOf(expected).filter((word) => {
    const at = found.indexOf(word);
    if (at >= 0) found.splice(at, 1);
    return at < 0;
  });
  return missed.length / wordsOf(expected).length;
}

/**
 * How many letters the worker reads wrongly, in percent, of all pages and of each kind; how many
 * words; and the processor's seconds a page. Pages of two columns count by themselves: their error
 * rate is that of the columns' order, not of letters.
 */
export async function ocr({ report }: Bench): Promise<void> {
  // Its engines are optional packages.
  const { recognize } = await import("../../../src/worker/ocr.ts");
  const results = (await drawPages()).map(({ picture, ...page }) => {
    const started = process.cpuUsage();
    const { text: got = "" } = recognize(picture, 1, 0) ?? {};
    const { user, system } = process.cpuUsage(started);
    return { ...page, got, seconds: (user + system) / 1e6 };
  });
  type Result = Omit<BenchPage, "picture"> & { got: string; seconds: number };
  const mean = (name: string, some: Result[], unit: string, of: (result: Result) => number) => {
    const ours = some.reduce((sum, result) => sum + of(result), 0) / some.length;
    report({ name: `ocr: ${name}`, unit, ours });
  };
  const letters = (form: typeof plain) => (result: Result) =>
    100 * errorRate(form(result.text), form(result.got));
  const inOneColumn = results.filter(({ wear }) => wear !== "two columns");
  const unit = "% letters";
  mean("all pages", inOneColumn, unit, letters(folded));
  mean("all pages, not folded", inOneColumn, unit, letters(plain));
  for (const [title, pages] of Map.groupBy(inOneColumn, (result) => result.title))
    mean(title, pages, unit, letters(folded));
  for (const [wear, pages] of Map.groupBy(results, (result) => result.wear))
    mean(wear, pages, unit, letters(folded));
  mean("all pages", results, "% words", ({ text, got }) => 100 * missedWords(text, got));
  mean("a page", results, "s CPU", ({ seconds }) => seconds);
}
