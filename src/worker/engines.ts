import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { sep } from "node:path";
import { fileURLToPath } from "node:url";

const FOLDER = `${sep}node_modules`;

/** The optional packages that read documents. Only the engine process loads them. */
const ENGINES = [
  "@hyzyla/pdfium",
  "image-size",
  "tesseract.js-core/tesseract-core-simd-lstm.js",
  "@tesseract.js-data/ara",
  "@tesseract.js-data/eng",
] as const;

/** Whether documents can be read here: all engines are installed. Loads nothing. */
export function enginesInstalled(): boolean {
  try {
    return ENGINES.every((name) => existsSync(fileURLToPath(import.meta.resolve(name))));
  } catch {
    return false;
  }
}

/** The folders `node_modules` with the engines: where they are looked for, and where links lead. */
export function engineFolders(): string[] {
  const places = createRequire(import.meta.url).resolve.paths(ENGINES[0]) ?? [];
  const folders = places.filter((place) => existsSync(place));
  const files = ENGINES.map((name) => fileURLToPath(import.meta.resolve(name)));
  const homes = files.map((file) => file.slice(0, file.lastIndexOf(FOLDER) + FOLDER.length));
  return [...new Set([...folders, ...homes])];
}
