import { imageSize } from "image-size";
import type { Limits } from "./limits.ts";
import { type Page, recognize } from "./ocr.ts";
import { openPdf } from "./pdf.ts";
import { readPlainText } from "./text.ts";
import { checkPixels, checkText, Unreadable } from "./unreadable.ts";

/** The pages of a document, each read when it is asked for. All may throw `Unreadable`. */
export interface Reading {
  pageCount: number;
  /** The first is 0. */
  readPage(index: number): Page;
  close?(): void;
}

/** What a file is by its first bytes; its name may lie. Text is what is nothing else. */
function kindOf(bytes: Buffer): "pdf" | "image" | "tiff" | "text" {
  const head = bytes.toString("latin1", 0, 1024);
  const starts = (...signatures: string[]) => signatures.some((each) => head.startsWith(each));
  if (starts("II*\0", "MM\0*")) return "tiff";
  if (starts("\x89PNG\r\n\x1a\n", "\xff\xd8\xff")) return "image";
  if (starts("RIFF") && head.startsWith("WEBP", 8)) return "image";
  // At 14 is the size of the second header of a BMP: 124 at most, in four bytes.
  if (starts("BM") && head.startsWith("\0\0\0", 15)) return "image";
  // ISO 32000 readers look for the header in the first 1,024 bytes.
  return head.includes("%PDF-") ? "pdf" : "text";
}

/** Opens a document of any kind that is read. Changes the bytes of a TIFF. */
export function openDocument(bytes: Buffer, limits: Limits): Reading {
  const kind = kindOf(bytes);
  if (kind === "pdf") return openPdf(bytes, limits);
  if (kind === "tiff") return openTiff(bytes, limits);
  if (kind === "image")
    return { pageCount: 1, readPage: () => readImage("The image", bytes, limits) };
  // No encoding that is read has more than two bytes for a byte of UTF-8.
  checkText(bytes.length / 2, limits);
  return { pageCount: 1, readPage: () => ({ text: readPlainText(bytes), confidence: 1 }) };
}

function readImage(name: string, bytes: Buffer, limits: Limits): Page {
  let size: ReturnType<typeof imageSize>;
  try {
    size = imageSize(bytes);
  } catch (cause) {
    throw new Unreadable(`${name} is damaged. Save it anew and send it again.`, { cause });
  }
  checkPixels(name, size.width, size.height, limits);
  const page = recognize(bytes, size.orientation ?? 1, 0);
  if (page) return page;
  throw new Unreadable(
    `${name} is damaged, or packed in a way that isn't read (TIFF: other than LZW or fax). ` +
      "Save it as a PNG and send that.",
  );
}

/**
 * A TIFF's pages are a chain of directories (TIFF 6.0, section 2), which may be a circle. The
 * engine reads the first, so each becomes it in turn.
 */
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
