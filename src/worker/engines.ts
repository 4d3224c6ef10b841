import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** The optional packages that read documents. Only the engine process loads them. */
export const ENGINES = [
  "@hyzyla/pdfium",
  "image-size",
  "tesseract.js-core/tesseract-core-simd-lstm.js",
  "@tesseract.js-data/ara",
  "@tesseract.js-data/eng",
] as const;

/** The file that a package's name stands for. Throws when the package isn't installed. */
export const locate = (name: string): string => import.meta.resolve(name);

/** Whether documents can be read here: all engines are installed. Loads nothing. */
export function enginesInstalled(): boolean {
  try {
    return ENGINES.every((name) => existsSync(fileURLToPath(locate(name))));
  } catch {
    return false;
  }
}
