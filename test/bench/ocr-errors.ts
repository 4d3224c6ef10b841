import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { gunzipSync } from "node:zlib";
import { recognize } from "../../src/worker/ocr.ts";
import { type BenchPage, drawPages } from "./ocr-pages.ts";

/**
 * How many letters Tesseract reads wrongly, for each way to use it that was considered. Prints a
 * table; the first argument, if any, is a file that gets all figures and texts as JSON, the others
 * name the ways to measure. All ways take ten minutes. The columns:
 * `folded` is the character error rate in percent: the Levenshtein distance from the text that was
 * drawn, over its length, both folded as a search folds them; then the same for single kinds of
 * pages; `exact` is the rate without folding, `words` the share of words that aren't found,
 * `seconds` the processor's seconds a page. Pages of two columns count in `two columns`, `words`
 * and `seconds` alone: their error rate is that of the columns' order, not of letters.
 */
interface Way {
  name: string;
  /** As the worker reads, whatever it does. */
  worker?: true;
  data?: "4.0.0" | "4.0.0_best_int";
  /** One reading for each; the one that the engine trusts most counts. */
  languages?: string[];
  /** Tesseract's number of it; 3 finds columns and blocks by itself. */
  pageSegmentation?: string;
  /** Of the drawing; 1 is 300 dpi. */
  scale?: number;
  /** Tesseract's threshold method, by which the page is made black and white before it is read. */
  binarise?: "0" | "2";
}

const WAYS: Way[] = [
  { name: "the worker's way", worker: true },
  { name: "eng+ara" },
  { name: "ara+eng", languages: ["ara+eng"] },
  { name: "data 4.0.0", data: "4.0.0" },
  { name: "one block (psm 6)", pageSegmentation: "6" },
  { name: "200 dpi", scale: 2 / 3 },
  { name: "450 dpi", scale: 1.5 },
  { name: "binarised, Otsu", binarise: "0" },
  { name: "binarised, Sauvola", binarise: "2" },
  { name: "the surer of ara, eng", languages: ["ara", "eng"] },
];

interface Reading {
  text: string;
  confidence: number;
}

interface Tesseract {
  Init(dataPath: null, languages: string, mode: 1): number;
  SetVariable(name: string, value: string): boolean;
  SetImageFile(orientation: number, angle: number): number;
  Recognize(monitor: null): number;
  GetUTF8Text(): string;
  MeanTextConf(): number;
  WriteImage(kind: number, path: string): void;
}

interface Core {
  FS: { writeFile(path: string, data: Uint8Array): void; readFile(path: string): Uint8Array };
  TessBaseAPI: new () => Tesseract;
}

const require = createRequire(import.meta.url);

async function loadCore(data: string): Promise<Core> {
  const createCore = require("tesseract.js-core/tesseract-core-simd-lstm.js");
  const core: Core = await createCore({ TesseractProgress() {}, print() {}, printErr() {} });
  for (const code of ["ara", "eng"]) {
    const file = require.resolve(`@tesseract.js-data/${code}/${data}/${code}.traineddata.gz`);
    core.FS.writeFile(`${code}.traineddata`, gunzipSync(readFileSync(file)));
  }
  return core;
}

/** Made black and white as `method` does it, by the engine itself. */
function binarised(core: Core, engine: Tesseract, picture: Uint8Array, method: string): Uint8Array {
  const BINARY = 2;
  core.FS.writeFile("/input", picture);
  engine.SetVariable("thresholding_method", method);
  engine.SetImageFile(1, 0);
  engine.WriteImage(BINARY, "/binary.png");
  engine.SetVariable("thresholding_method", "0");
  return core.FS.readFile("/binary.png");
}

function read(core: Core, engine: Tesseract, picture: Uint8Array): Reading {
  core.FS.writeFile("/input", picture);
  if (engine.SetImageFile(1, 0) !== 0) throw new Error("Tesseract can't read the picture");
  if (engine.Recognize(null) !== 0) throw new Error("Tesseract failed");
  return { text: engine.GetUTF8Text(), confidence: engine.MeanTextConf() };
}

/** The text on one line, without the marks of direction that the engine adds. */
const plain = (text: string): string =>
  text
    .normalize("NFC")
    .replace(/[\u200e\u200f\u202a-\u202e]/g, "")
    .replace(/\s+/g, " ")
    .trim();

const folded = (text: string): string =>
  plain(text)
    .normalize("NFKD")
    .replace(/\p{M}|\u0640/gu, "")
    .replaceAll("ى", "ي")
    .replaceAll("ة", "ه")
    .replace(/[٠-٩]/g, (digit) => String(digit.charCodeAt(0) - 0x660))
    .toLowerCase();

function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

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

interface Result extends Omit<BenchPage, "picture"> {
  got: string;
  folded: number;
  exact: number;
  words: number;
  seconds: number;
}

type Read = (picture: Buffer) => Reading;

function workersWay(picture: Buffer): Reading {
  const reading = recognize(picture, 1, 0);
  if (reading === undefined) throw new Error("Tesseract can't read the picture");
  return reading;
}

async function prepare(way: Way): Promise<Read> {
  const core = await loadCore(way.data ?? "4.0.0_best_int");
  const open = (languages: string) => {
    const engine = new core.TessBaseAPI();
    if (engine.Init(null, languages, 1) !== 0) throw new Error("Tesseract can't start");
    engine.SetVariable("tessedit_pageseg_mode", way.pageSegmentation ?? "3");
    return engine;
  };
  const engines = (way.languages ?? ["eng+ara"]).map(open);
  const [first] = engines;

  return (picture) => {
    const input = way.binarise && first ? binarised(core, first, picture, way.binarise) : picture;
    const readings = engines.map((engine) => read(core, engine, input));
    return readings.reduce((best, next) => (next.confidence > best.confidence ? next : best));
  };
}

async function measure(way: Way, pages: BenchPage[]): Promise<Result[]> {
  const readPage = way.worker ? workersWay : await prepare(way);
  return pages.map(({ picture, ...page }) => {
    const started = process.cpuUsage();
    const { text } = readPage(picture);
    const { user, system } = process.cpuUsage(started);
    const rate = (form: typeof plain) =>
      distance(form(page.text), form(text)) / form(page.text).length;
    const rates = { folded: rate(folded), exact: rate(plain) };
    const words = missedWords(page.text, text);
    return { ...page, got: text, ...rates, words, seconds: (user + system) / 1e6 };
  });
}

const [file, ...names] = process.argv.slice(2);
const ways = WAYS.filter(({ name }) => names.length === 0 || names.includes(name));
const TITLES = ["prose", "numbers", "indic", "mixed", "letter", "invoice"];
const WEARS = ["clean", "two columns", "turned", "pale", "noisy", "200 dpi", "150 dpi"];
const write = (first: string, cells: string[]) =>
  process.stdout.write(`${first.padEnd(22)}${cells.map((cell) => cell.padStart(12)).join("")}\n`);
const mean = (results: Result[], pick: (result: Result) => number): number =>
  results.reduce((sum, result) => sum + pick(result), 0) / results.length;

const drawn = new Map<number, BenchPage[]>();
const all: Record<string, Result[]> = {};
write("", ["folded", ...TITLES, ...WEARS, "exact", "words", "seconds"]);
for (const way of ways) {
  const scale = way.scale ?? 1;
  const pages = drawn.get(scale) ?? (await drawPages(scale));
  drawn.set(scale, pages);
  const results = await measure(way, pages);
  all[way.name] = results;
  if (file) writeFileSync(file, JSON.stringify(all, null, 2));
  const inOneColumn = results.filter(({ wear }) => wear !== "two columns");
  const error = (some: Result[]) => (100 * mean(some, (result) => result.folded)).toFixed(2);
  write(way.name, [
    error(inOneColumn),
    ...TITLES.map((title) => error(inOneColumn.filter((result) => result.title === title))),
    ...WEARS.map((wear) => error(results.filter((result) => result.wear === wear))),
    (100 * mean(inOneColumn, (result) => result.exact)).toFixed(2),
    (100 * mean(results, (result) => result.words)).toFixed(2),
    mean(results, (result) => result.seconds).toFixed(2),
  ]);
}
