import type { Limits } from "./limits.ts";

/** The document can't be read; `message` tells a person what to do. */
export class Unreadable extends Error {
  override readonly name = "Unreadable";
}

export const READABLE = "Send a PDF, a PNG, JPEG, TIFF, BMP or WebP image, or a plain text.";

/** "12 million", "10,000": a count as a person reads it. */
export function spell(count: number): string {
  return count >= 1_000_000
    ? `${(count / 1_000_000).toLocaleString("en", { maximumFractionDigits: 1 })} million`
    : count.toLocaleString("en", { maximumFractionDigits: 1 });
}

const SPLIT = "Split it and send its parts.";

/** `pages` is undefined where nobody counted to the end. */
export const tooManyPages = (pages: number | undefined, limits: Limits): Unreadable =>
  new Unreadable(
    `The document has too many pages (${pages === undefined ? "more" : spell(pages)}; ` +
      `at most ${spell(limits.pages)}). ${SPLIT}`,
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
