/** What one document may cost. Past a limit it is `Unreadable`, with a message of its own. */
export const LIMITS = {
  /** Bytes of the file. The engine process holds it in memory, twice for a PDF. */
  fileBytes: 200_000_000,
  /** Of a PDF or a TIFF. */
  pages: 2_000,
  /** Pixels of the longer side of an image, or of a PDF's page at 300 dots per inch. */
  side: 10_000,
  /** Pixels of an image, or of a PDF's page at 300 dots per inch: an A2 sheet has 35 million. */
  pixels: 40_000_000,
  /** Of the text in UTF-8. A document of MongoDB has at most 16 MB. */
  textBytes: 10_000_000,
  /** Between one page's end and the next's. Starting the engine process isn't counted. */
  pageSeconds: 120,
  /** For all pages: below the 30 minutes after which RabbitMQ takes a message back. */
  documentSeconds: 1_200,
  /** Resident memory of the engine process. Watched where there is `/proc` (Linux). */
  memoryBytes: 1_000_000_000,
};
export type Limits = typeof LIMITS;

/** The document can't be read; `message` tells a person what to do. */
export class Unreadable extends Error {
  override readonly name = "Unreadable";
}

/** "10,000", "1.5": a number as a person reads it. */
export const spell = (count: number): string =>
  count.toLocaleString("en", { maximumFractionDigits: 1 });

/** `what` tells what is above which limit, `advice` what to do. */
export function tooMuch(what: string, advice = "Split it, or send it in a lower resolution.") {
  return new Unreadable(`${what}. ${advice}`);
}

export function checkPixels(what: string, width: number, height: number, limits: Limits): void {
  if (Math.max(width, height) <= limits.side && width * height <= limits.pixels) return;
  const most = `at most ${spell(limits.side)} a side and ${spell(limits.pixels)} in all`;
  throw tooMuch(`${what} is too large (${spell(width)} × ${spell(height)} pixels; ${most})`);
}

/** Throws `Unreadable` for more bytes of text than the limit. */
export function checkText(bytes: number, limits: Limits): void {
  const most = spell(limits.textBytes / 1e6);
  if (bytes > limits.textBytes)
    throw tooMuch(`The document has too much text (over ${most} MB)`, "Split it.");
}
