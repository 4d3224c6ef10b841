import type { Limits } from "./limits.ts";

/** The document can't be read; `message` tells a person what to do. */
export class Unreadable extends Error {
  override readonly name = "Unreadable";
}

/** "10,000", "1.5": a number as a person reads it. */
export const spell = (count: number): string =>
  count.toLocaleString("en", { maximumFractionDigits: 1 });

/** `what` tells what is above which limit, `advice` what to do. */
export const tooMuch = (
  what: string,
  advice = "Split it, or send it in a lower resolution.",
): Unreadable => new Unreadable(`${what}. ${advice}`);

/** Throws `Unreadable` for what would be too large to draw or decode. */
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
