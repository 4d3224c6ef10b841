import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { gunzipSync } from "node:zlib";

/** One page's text. Confidence is from 0 to 1. */
export interface Page {
  text: string;
  confidence: number;
}

/** The part of tesseract.js-core that is used; the package has no types. Numbers: 0 is success. */
interface Core {
  FS: { writeFile(path: string, data: Uint8Array): void };
  TessBaseAPI: new () => Tesseract;
}

interface Tesseract {
  /** `mode` 1 is the LSTM engine alone. */
  Init(dataPath: null, languages: string, mode: 1): number;
  SetVariable(name: string, value: string): boolean;
  /** Of `/input`. */
  SetImageFile(orientation: number, angle: number): number;
  Recognize(monitor: null): number;
  GetUTF8Text(): string;
  GetTSVText(page: number): string;
  MeanTextConf(): number;
  Clear(): void;
}

/** Most English words have 92 to 96 of 100; Arabic that was read as English or digits has less. */
const SURE = 90;

const require = createRequire(import.meta.url);
// Not the build with relaxed SIMD, which reads differently on different processors.
const createCore = require("tesseract.js-core/tesseract-core-simd-lstm.js") as (
  options: object,
) => Promise<Core>;
const quiet = () => {};
const core = await createCore({ TesseractProgress: quiet, print: quiet, printErr: quiet });
for (const language of ["ara", "eng"]) {
  const file = `@tesseract.js-data/${language}/4.0.0_best_int/${language}.traineddata.gz`;
  core.FS.writeFile(`${language}.traineddata`, gunzipSync(readFileSync(require.resolve(file))));
}

// English first: read as Arabic, its digits are lost ("4471" as "1").
const [both, arabic] = ["eng+ara", "ara"].map((languages) => {
  const tesseract = new core.TessBaseAPI();
  if (tesseract.Init(null, languages, 1) !== 0) throw new Error("Tesseract can't start");
  // It finds columns and blocks by itself.
  tesseract.SetVariable("tessedit_pageseg_mode", "3");
  return tesseract;
}) as [Tesseract, Tesseract];

/**
 * Whether a page of Arabic should be read without English: some words may be Arabic misread, or it
 * has columns, ordered by the first language. In `table` rows of level 5 are words.
 */
function isArabicAlone(table: string): boolean {
  const isArabic = (text: string) => /\p{Script=Arabic}/u.test(text);
  if (!isArabic(table)) return false;
  const words = table
    .split("\n")
    .map((line) => line.split("\t"))
    .filter(([level]) => level === "5")
    .map((row) => ({ text: row[11] ?? "", block: row[2], isSure: Number(row[10]) >= SURE }));
  const foreign = words.filter(({ text }) => !isArabic(text) && /[\p{L}\p{N}]/u.test(text));
  if (foreign.some(({ isSure, text }) => isSure && /\p{L}/u.test(text))) return false;
  const hasColumns = words.some(({ block }) => block !== words[0]?.block);
  return hasColumns || foreign.some(({ isSure }) => !isSure);
}

/** Reads an image, turned by EXIF's orientation; undefined for none. `dotsPerInch` 0: its own. */
export function recognize(image: Uint8Array, orientation: number, dotsPerInch: number) {
  core.FS.writeFile("/input", image);
  const read = (tesseract: Tesseract) => {
    tesseract.SetVariable("user_defined_dpi", String(dotsPerInch));
    return tesseract.SetImageFile(orientation, 0) === 0 && tesseract.Recognize(null) === 0;
  };
  if (!read(both)) return undefined;
  const chosen = isArabicAlone(both.GetTSVText(0)) && read(arabic) ? arabic : both;
  const page: Page = { text: chosen.GetUTF8Text(), confidence: chosen.MeanTextConf() / 100 };
  for (const tesseract of [both, arabic]) tesseract.Clear();
  return page;
}
