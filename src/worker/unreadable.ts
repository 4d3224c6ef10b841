import type { Limits } from "./limits.ts";

/** The document can't be read; `message` tells a person what to do. */
export class Unreadable extends Error {
  override readonly name = "Unreadable";
}

/** "10,000", "1.5": a number as a person reads it. */
export const spell = (count: number): string =>
  count.toLocaleString("en", { maximumFractionDigits: 1 });

const SPLIT = "Split it and send its parts.";

export const tooManyPages = (pages: number, limits: Limits): Unreadable =>
  new Unreadable(
    `The document has too many pages (${spell(pages)}; at most ${spell(limits.pages)}). ${SPLIT}`,
  );

export const tooMuchText = (limits: Limits): Unreadable =>
  new Unreadable(
    `The document has too much text (over ${spell(limits.textBytes / 1e6)} MB). ${SPLIT}`,
  );

export const tooLarge = (size: number, limits: Limits): Unreadable =>
  new Unreadable(
    `The file is too large (${spell(size / 1e6)} MB; ` +
      `at most ${spell(limits.fileBytes / 1e6)} MB). ${SPLIT}`,
  );

export const tooCostly = (what: string, limit: string): Unreadable =>
  new Unreadable(
    `${what} than ${limit} to read. Split the document, or send it in a lower resolution.`,
  );

/** Throws `Unreadable` for what would be too large to draw or decode. */
export function checkPixels(what: string, width: number, height: number, limits: Limits): void {
  if (Math.max(width, height) <= limits.side && width * height <= limits.pixels) return;
  const most = `at most ${spell(limits.side)} a side and ${spell(limits.pixels)} in all`;
  throw new Unreadable(
    `${what} is too large (${spell(width)} × ${spell(height)} pixels; ${most}). ` +
      "Send it smaller, or in parts.",
  );
}
