import { imageSize } from "image-size";
import { checkPixels, checkText, type Limits, Unreadable } from "./limits.ts";
import type { Page } from "./ocr.ts";
import { readPlainText } from "./text.ts";

/** The pages of a document, each read when it is asked for. All may throw `Unreadable`. */
export interface Reading {
  pageCount: number;
  readPage(index: number): Page | Promise<Page>;
}

/** Opens a document by its first bytes: its name may lie. Changes the bytes of a TIFF. */
export async function openDocument(bytes: Buffer, limits: Limits): Promise<Reading> {
  const head = bytes.toString("latin1", 0, 1024);
  const starts = (...signatures: string[]) => signatures.some((each) => head.startsWith(each));
  if (starts("II*\0", "MM\0*")) return openTiff(bytes, limits);
  const isWebp = starts("RIFF") && head.startsWith("WEBP", 8);
  // At 14 is the size of the second header of a BMP: 124 at most, in four bytes.
  const isBmp = starts("BM") && head.startsWith("\0\0\0", 15);
  if (isWebp || isBmp || starts("\x89PNG\r\n\x1a\n", "\xff\xd8\xff"))
    return { pageCount: 1, readPage: () => readImage("The image", bytes, limits) };
  // ISO 32000 readers look for the header in the first 1,024 bytes.
  if (head.includes("%PDF-")) return (await import("./pdf.ts")).openPdf(bytes, limits);
  // No encoding that is read has more than two bytes for a byte of UTF-8.
  checkText(bytes.length / 2, limits);
  return { pageCount: 1, readPage: () => ({ text: readPlainText(bytes), confidence: 1 }) };
}

async function readImage(name: string, bytes: Buffer, limits: Limits): Promise<Page> {
  let size: ReturnType<typeof imageSize> | undefined;
  try {
    size = imageSize(bytes);
  } catch {
    // Damaged, as is said below.
  }
  if (size) checkPixels(name, size.width, size.height, limits);
  // An engine is loaded when there is something for it.
  const { recognize } = await import("./ocr.ts");
  const page = size && recognize(bytes, size.orientation ?? 1, 0);
  if (page) return page;
  throw new Unreadable(
    `${name} is damaged, or packed in a way that isn't read (TIFF: other than LZW or fax). ` +
      "Save it as a PNG and send that.",
  );
}

/** A chain of directories (TIFF 6.0, section 2). The engine reads the first: each becomes it. */
function openTiff(bytes: Buffer, limits: Limits): Reading {
  const file = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const isLittle = bytes[0] === 0x49;
  const pages: number[] = [];
  try {
    let at = file.getUint32(4, isLittle);
    while (at !== 0 && !pages.includes(at) && pages.length <= limits.pages) {
      pages.push(at);
      at = file.getUint32(at + 2 + 12 * file.getUint16(at, isLittle), isLittle);
    }
  } catch {
    // The chain leaves the file: the pages so far are tried.
  }
  return {
    pageCount: pages.length,
    readPage(index) {
      file.setUint32(4, pages[index] ?? 0, isLittle);
      return readImage(`Page ${index + 1}`, bytes, limits);
    },
  };
}
