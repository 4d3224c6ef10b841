import { PDFiumModule } from "@hyzyla/pdfium";
import { checkPixels, type Limits, Unreadable } from "./limits.ts";
import type { Page } from "./ocr.ts";
import { type Glyph, readLines } from "./pdf-lines.ts";
import type { Reading } from "./reading.ts";
import { countLetters } from "./text.ts";

/** At which pages are drawn: what Tesseract was trained for. */
const DOTS_PER_INCH = 300;

/** PDFium's numbers, from its headers fpdfview.h and fpdf_edit.h. */
const ERRORS_OF_LOCKED = [4, 5];
const BITMAP_GRAY = 1;
const WITH_ANNOTATIONS_IN_GRAY = 0x01 | 0x08;
const OBJECTS_WITH_IMAGES = [3, 5];
const WHITE = 0xffffffff;

/** A scanner's stamp has fewer letters than this. */
const FEW_LETTERS = 50;

/** What the package's types leave out. */
interface Characters {
  _FPDFText_GetUnicode(layer: number, index: number): number;
  /** Writes left, right, bottom and top as doubles; in points, from the left bottom corner. */
  _FPDFText_GetCharBox(layer: number, index: number, ...addresses: number[]): number;
}

const pdfium = (await PDFiumModule({})) as Awaited<ReturnType<typeof PDFiumModule>> & Characters;
pdfium._FPDF_InitLibraryWithConfig({});
const { malloc, free } = pdfium.wasmExports;

/** Without memory the process ends, and what it holds is free. */
function allocate(size: number): number {
  const address = malloc(size);
  if (address === 0) throw new Error(`PDFium has no memory for ${size} bytes`);
  return address;
}

/** Throws `Unreadable`. The document is open until the process ends. */
export function openPdf(bytes: Buffer, limits: Limits): Reading {
  const address = allocate(bytes.length);
  pdfium.HEAPU8.set(bytes, address);
  const document = pdfium._FPDF_LoadMemDocument(address, bytes.length, 0);
  if (document === 0)
    throw new Unreadable(
      ERRORS_OF_LOCKED.includes(pdfium._FPDF_GetLastError())
        ? "The PDF is encrypted and needs a password. Send a copy without one."
        : "The PDF is damaged. Save or print it as a new PDF and send that.",
    );
  return {
    pageCount: pdfium._FPDF_GetPageCount(document),
    async readPage(index) {
      const name = `Page ${index + 1}`;
      const page = pdfium._FPDF_LoadPage(document, index);
      if (page === 0) throw new Unreadable(`${name} of the PDF is damaged. Save it as a new PDF.`);
      const read = await readPage(page, name, limits);
      pdfium._FPDF_ClosePage(page);
      return read;
    },
  };
}

/** The text layer, or what OCR sees where there is none, or only a few letters over an image. */
async function readPage(page: number, name: string, limits: Limits): Promise<Page> {
  // A point is a 72nd of an inch.
  const toPixels = (points: number) => Math.ceil((points / 72) * DOTS_PER_INCH);
  const width = toPixels(pdfium._FPDF_GetPageWidth(page));
  const height = toPixels(pdfium._FPDF_GetPageHeight(page));
  checkPixels(`${name} at ${DOTS_PER_INCH} dots per inch`, width, height, limits);
  const layer = { text: readLayer(page), confidence: 1 };
  const letters = countLetters(layer.text);
  if (letters >= FEW_LETTERS || (letters > 0 && !hasImage(page))) return layer;
  const { recognize } = await import("./ocr.ts");
  const seen = recognize(draw(page, width, height), 1, DOTS_PER_INCH);
  return seen && countLetters(seen.text) > letters ? seen : layer;
}

function hasImage(page: number): boolean {
  for (let at = pdfium._FPDFPage_CountObjects(page) - 1; at >= 0; at -= 1) {
    const object = pdfium._FPDFPage_GetObject(page, at);
    if (OBJECTS_WITH_IMAGES.includes(pdfium._FPDFPageObj_GetType(object))) return true;
  }
  return false;
}

function readLayer(page: number): string {
  const layer = pdfium._FPDFText_LoadPage(page);
  if (layer === 0) return "";
  const glyphs: Glyph[] = [];
  const count = pdfium._FPDFText_CountChars(layer);
  const address = allocate(4 * Float64Array.BYTES_PER_ELEMENT);
  for (let at = 0; at < count; at += 1) {
    const code = pdfium._FPDFText_GetUnicode(layer, at);
    // A font's table may hold any number.
    const letter = code >= 0 && code <= 0x10ffff ? String.fromCodePoint(code) : "";
    pdfium._FPDFText_GetCharBox(layer, at, address, address + 8, address + 16, address + 24);
    const box = new Float64Array(pdfium.HEAPU8.buffer, address, 4);
    const [left = 0, right = 0, bottom = 0, top = 0] = box;
    glyphs.push({ letter, left, right, bottom, top });
  }
  free(address);
  pdfium._FPDFText_ClosePage(layer);
  return readLines(glyphs);
}

/** The page as a grey bitmap, a PGM file. */
function draw(page: number, width: number, height: number): Uint8Array {
  const size = width * height;
  const address = allocate(size);
  const bitmap = pdfium._FPDFBitmap_CreateEx(width, height, BITMAP_GRAY, address, width);
  pdfium._FPDFBitmap_FillRect(bitmap, 0, 0, width, height, WHITE);
  const flags = WITH_ANNOTATIONS_IN_GRAY;
  pdfium._FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, 0, flags);
  const head = Buffer.from(`P5 ${width} ${height} 255\n`);
  const image = Buffer.concat([head, pdfium.HEAPU8.subarray(address, address + size)]);
  pdfium._FPDFBitmap_Destroy(bitmap);
  free(address);
  return image;
}
