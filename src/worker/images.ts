import { imageSize } from "image-size";
import type { Limits } from "./limits.ts";
import { spell, tooManyPages, Unreadable } from "./unreadable.ts";

/** Throws `Unreadable` for what would be too large to draw or decode. */
export function checkPixels(what: string, width: number, height: number, limits: Limits): void {
  if (Math.max(width, height) <= limits.side && width * height <= limits.pixels) return;
  const size = `${spell(Math.ceil(width))} × ${spell(Math.ceil(height))} pixels`;
  throw new Unreadable(
    `${what} is too large (${size}; at most ${spell(limits.side)} a side and ` +
      `${spell(limits.pixels)} in all). Send it smaller, or in parts.`,
  );
}

/** Reads an image's size from its head and checks it. Returns how it is turned: EXIF's 1 to 8. */
export function checkImage(what: string, bytes: Buffer, limits: Limits): number {
  let size: ReturnType<typeof imageSize>;
  try {
    size = imageSize(bytes);
  } catch (cause) {
    throw new Unreadable(`${what} is damaged. Save it anew and send it again.`, { cause });
  }
  checkPixels(what, size.width, size.height, limits);
  return size.orientation ?? 1;
}

/**
 * The pages of a TIFF: where each one's directory begins. Directories are a chain (TIFF 6.0,
 * section 2), which may be a circle.
 */
export function listTiffPages(bytes: Buffer, limits: Limits): number[] {
  const isLittle = bytes.toString("latin1", 0, 2) === "II";
  const read32 = (at: number) => (isLittle ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
  const read16 = (at: number) => (isLittle ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at));
  const pages: number[] = [];
  try {
    for (let at = read32(4); at !== 0 && !pages.includes(at); ) {
      pages.push(at);
      if (pages.length > limits.pages) throw tooManyPages(undefined, limits);
      at = read32(at + 2 + 12 * read16(at));
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    // The chain leaves the file: the pages so far are tried.
  }
  return pages;
}

/** Makes a page the first one, the only one that the engine reads. Changes `bytes`. */
export function chooseTiffPage(bytes: Buffer, page: number): void {
  if (bytes.toString("latin1", 0, 2) === "II") bytes.writeUInt32LE(page, 4);
  else bytes.writeUInt32BE(page, 4);
}
