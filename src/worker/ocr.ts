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
  MeanTextConf(): number;
  Clear(): void;
}

/** Reads an image. `dotsPerInch` 0: as the image says, or a guess. undefined: no such image. */
export type Recognize = (
  image: Uint8Array,
  options: { orientation: number; dotsPerInch: number },
) => Page | undefined;

const LANGUAGES = ["ara", "eng"];

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
  const tesseract = new core.TessBaseAPI();
  if (tesseract.Init(null, LANGUAGES.join("+"), 1) !== 0) throw new Error("Tesseract can't start");
  tesseract.SetVariable("tessedit_pageseg_mode", "3");

  return (image, { orientation, dotsPerInch }) => {
    core.FS.writeFile("/input", image);
    tesseract.SetVariable("user_defined_dpi", String(dotsPerInch));
    if (tesseract.SetImageFile(orientation, 0) !== 0) return undefined;
    if (tesseract.Recognize(null) !== 0) return undefined;
    const page = { text: tesseract.GetUTF8Text(), confidence: tesseract.MeanTextConf() / 100 };
    tesseract.Clear();
    return page;
  };
}
