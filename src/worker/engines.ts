import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

/** The optional packages that read documents. Only the engine process loads them. */
const ENGINES = [
  "@hyzyla/pdfium",
  "image-size",
  "tesseract.js-core/tesseract-core-simd-lstm.js",
  "@tesseract.js-data/ara",
  "@tesseract.js-data/eng",
] as const;

const locate = (name: string): string => fileURLToPath(import.meta.resolve(name));

/** Whether documents can be read here: all engines are installed. Loads nothing. */
export function enginesInstalled(): boolean {
  try {
    return ENGINES.every((name) => existsSync(locate(name)));
  } catch {
    return false;
  }
}

/** The folders `node_modules` with the engines: where they are looked for, and where links lead. */
export function engineFolders(): string[] {
  const places = createRequire(import.meta.url).resolve.paths(ENGINES[0]) ?? [];
  const homes = ENGINES.map((name) => locate(name).replace(/(.*[\\/]node_modules).*/s, "$1"));
  return [...new Set([...places.filter((place) => existsSync(place)), ...homes])];
}
