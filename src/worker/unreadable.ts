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
