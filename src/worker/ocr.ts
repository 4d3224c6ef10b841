import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { gunzipSync } from "node:zlib";
import type { Page } from "./messages.ts";

/** The part of tesseract.js-core that is used; the package has no types. */
interface Core {
  FS: { writeFile(path: string, data: Uint8Array): void };
  TessBaseAPI: new () => Tesseract;
}

interface Tesseract {
  /** `mode` 1 is the LSTM engine alone. 0 is success. */
  Init(dataPath: null, languages: string, mode: 1): number;
  SetVariable(name: string, value: string): boolean;
  /** Reads `/input`, turned by the orientation of EXIF. 0 is success. */
  SetImageFile(orientation: number, angle: number): number;
  /** 0 is success. */
  Recognize(monitor: null): number;
  GetUTF8Text(): string;
  /** A line of twelve columns a word, and others. */
  GetTSVText(page: number): string;
  MeanTextConf(): number;
  Clear(): void;
}

/** Reads an image. `dotsPerInch` 0: as the image says, or a guess. undefined: no such image. */
export type Recognize = (
  image: Uint8Array,
  options: { orientation: number; dotsPerInch: number },
) => Page | undefined;

const AUTOMATIC_LAYOUT = "3";
const LANGUAGES = ["ara", "eng"];

/**
 * Most English words have a confidence of 92 to 96 of 100. Arabic that was read as English, or as
 * digits, has less: "المحترم" as "prs" 66, "الأول" as "Jol" 87, "فائق" as "36" 76.
 */
const SURE = 90;

/**
 * Whether a page of Arabic without English should be read as such: some of its words may be Arabic
 * misread, or it has columns, which the engine orders by its first language.
 */
function isArabicAlone(words: readonly Word[]): boolean {
  const isArabic = ({ text }: Word) => /\p{Script=Arabic}/u.test(text);
  const foreign = words.filter((word) => !isArabic(word) && /[\p{L}\p{N}]/u.test(word.text));
  if (!words.some(isArabic)) return false;
  if (foreign.some(({ sure, text }) => sure >= SURE && /\p{L}/u.test(text))) return false;
  return (
    foreign.some(({ sure }) => sure < SURE) || new Set(words.map((word) => word.block)).size > 1
  );
}

interface Word {
  text: string;
  block: string;
  /** From 0 to 100. */
  sure: number;
}

/** The words of Tesseract's table: level 5 of page, block, paragraph, line and word. */
function listWords(table: string): Word[] {
  const rows = table.split("\n").map((line) => line.split("\t"));
  return rows
    .filter(([level]) => level === "5")
    .map((row) => ({ text: row[11] ?? "", block: row[2] ?? "", sure: Number(row[10]) }));
}

/** Loads Tesseract, compiled to WebAssembly, with Arabic and English. Takes a second. */
export async function loadOcr(): Promise<Recognize> {
  const require = createRequire(import.meta.url);
  // Not the build with relaxed SIMD, which reads differently on different processors.
  const createCore = require("tesseract.js-core/tesseract-core-simd-lstm.js") as (
    options: object,
  ) => Promise<Core>;
  const quiet = () => {};
  const core = await createCore({ TesseractProgress: quiet, print: quiet, printErr: quiet });
  for (const language of LANGUAGES) {
    const file = `@tesseract.js-data/${language}/4.0.0_best_int/${language}.traineddata.gz`;
    core.FS.writeFile(`${language}.traineddata`, gunzipSync(readFileSync(require.resolve(file))));
  }
  function start(languages: string): Tesseract {
    const tesseract = new core.TessBaseAPI();
    if (tesseract.Init(null, languages, 1) !== 0) throw new Error("Tesseract can't start");
    tesseract.SetVariable("tessedit_pageseg_mode", AUTOMATIC_LAYOUT);
    return tesseract;
  }
  // English first: read as Arabic, its digits are lost ("4471" as "1").
  const both = start("eng+ara");
  const arabic = start("ara");

  function read(tesseract: Tesseract, orientation: number, dotsPerInch: number): boolean {
    tesseract.SetVariable("user_defined_dpi", String(dotsPerInch));
    return tesseract.SetImageFile(orientation, 0) === 0 && tesseract.Recognize(null) === 0;
  }

  return (image, { orientation, dotsPerInch }) => {
    core.FS.writeFile("/input", image);
    if (!read(both, orientation, dotsPerInch)) return undefined;
    const isAlone = isArabicAlone(listWords(both.GetTSVText(0)));
    const chosen = isAlone && read(arabic, orientation, dotsPerInch) ? arabic : both;
    const page = { text: chosen.GetUTF8Text(), confidence: chosen.MeanTextConf() / 100 };
    for (const tesseract of [both, arabic]) tesseract.Clear();
    return page;
  };
}
