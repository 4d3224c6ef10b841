import { PDFiumModule } from "@hyzyla/pdfium";
import { checkPixels } from "./images.ts";
import type { Limits } from "./limits.ts";
import { type Glyph, readLines } from "./pdf-lines.ts";
import { tooManyPages, Unreadable } from "./unreadable.ts";

/** Dots per inch at which pages are drawn: what Tesseract was trained for. */
export const DOTS_PER_INCH = 300;
const POINTS_PER_INCH = 72;

/** PDFium's numbers, from its headers fpdfview.h and fpdf_edit.h. */
const ERROR_PASSWORD = 4;
const ERROR_SECURITY = 5;
const BITMAP_GRAY = 1;
const DRAW_ANNOTATIONS_IN_GRAY = 0x01 | 0x08;
const OBJECT_IMAGE = 3;
const WHITE = 0xffffffff;

export interface PdfPage {
  /** The text layer; empty where there is none. */
  text(): string;
  hasImage(): boolean;
  /** A grey bitmap as a PGM file. */
  draw(): Uint8Array;
  close(): void;
}

export interface Pdf {
  pageCount: number;
  /** The first is 0. Throws `Unreadable`. */
  openPage(index: number): PdfPage;
  close(): void;
}

/** What the package's types leave out. */
interface Characters {
  _FPDFText_GetUnicode(layer: number, index: number): number;
  /** Writes four doubles; in points, from the left bottom corner. */
  _FPDFText_GetCharBox(
    layer: number,
    index: number,
    left: number,
    right: number,
    bottom: number,
    top: number,
  ): number;
}

type Pdfium = Awaited<ReturnType<typeof PDFiumModule>> & Characters;

/** Loads PDFium, compiled to WebAssembly. Its function opens one document; throws `Unreadable`. */
export async function loadPdf(): Promise<(bytes: Buffer, limits: Limits) => Pdf> {
  const pdfium = (await PDFiumModule({})) as Pdfium;
  pdfium._FPDF_InitLibraryWithConfig({});
  return (bytes, limits) => openPdf(pdfium, bytes, limits);
}

function allocate(pdfium: Pdfium, size: number): number {
  const address = pdfium.wasmExports.malloc(size);
  if (address === 0) throw new Error(`PDFium has no memory for ${size} bytes`);
  return address;
}

function openPdf(pdfium: Pdfium, bytes: Buffer, limits: Limits): Pdf {
  const address = allocate(pdfium, bytes.length);
  pdfium.HEAPU8.set(bytes, address);
  const document = pdfium._FPDF_LoadMemDocument(address, bytes.length, 0);
  if (document === 0) {
    const error = pdfium._FPDF_GetLastError();
    pdfium.wasmExports.free(address);
    throw new Unreadable(
      error === ERROR_PASSWORD || error === ERROR_SECURITY
        ? "The PDF is encrypted and needs a password. Send a copy without one."
        : "The PDF is damaged. Save or print it as a new PDF and send that.",
    );
  }
  const close = () => {
    pdfium._FPDF_CloseDocument(document);
    pdfium.wasmExports.free(address);
  };
  const pageCount = pdfium._FPDF_GetPageCount(document);
  if (pageCount > limits.pages) {
    close();
    throw tooManyPages(pageCount, limits);
  }
  return { pageCount, close, openPage: (index) => openPage(pdfium, document, index, limits) };
}

function openPage(pdfium: Pdfium, document: number, index: number, limits: Limits): PdfPage {
  const name = `Page ${index + 1}`;
  const page = pdfium._FPDF_LoadPage(document, index);
  if (page === 0) throw new Unreadable(`${name} of the PDF is damaged. Save it as a new PDF.`);
  const close = () => pdfium._FPDF_ClosePage(page);
  const scale = DOTS_PER_INCH / POINTS_PER_INCH;
  const width = Math.ceil(pdfium._FPDF_GetPageWidth(page) * scale);
  const height = Math.ceil(pdfium._FPDF_GetPageHeight(page) * scale);
  try {
    checkPixels(`${name} at ${DOTS_PER_INCH} dots per inch`, width, height, limits);
  } catch (error) {
    close();
    throw error;
  }
  return {
    close,
    text: () => readText(pdfium, page),
    draw: () => draw(pdfium, page, width, height),
    hasImage() {
      const objects = pdfium._FPDFPage_CountObjects(page);
      for (let at = 0; at < objects; at += 1) {
        const object = pdfium._FPDFPage_GetObject(page, at);
        if (pdfium._FPDFPageObj_GetType(object) === OBJECT_IMAGE) return true;
      }
      return false;
    },
  };
}

/** Lines with Arabic are put into reading order; others come as PDFium has them. */
function readText(pdfium: Pdfium, page: number): string {
  const layer = pdfium._FPDFText_LoadPage(page);
  if (layer === 0) return "";
  try {
    const glyphs: Glyph[] = [];
    const count = pdfium._FPDFText_CountChars(layer);
    const address = allocate(pdfium, 4 * Float64Array.BYTES_PER_ELEMENT);
    for (let at = 0; at < count; at += 1) {
      const code = pdfium._FPDFText_GetUnicode(layer, at);
      // A font's table may hold any number.
      const letter = code >= 0 && code <= 0x10ffff ? String.fromCodePoint(code) : "";
      pdfium._FPDFText_GetCharBox(layer, at, address, address + 8, address + 16, address + 24);
      const [left = 0, right = 0, bottom = 0, top = 0] = new Float64Array(
        pdfium.HEAPU8.buffer,
        address,
        4,
      );
      glyphs.push({ letter, left, right, bottom, top });
    }
    pdfium.wasmExports.free(address);
    return readLines(glyphs);
  } finally {
    pdfium._FPDFText_ClosePage(layer);
  }
}

function draw(pdfium: Pdfium, page: number, width: number, height: number): Uint8Array {
  const address = allocate(pdfium, width * height);
  const bitmap = pdfium._FPDFBitmap_CreateEx(width, height, BITMAP_GRAY, address, width);
  pdfium._FPDFBitmap_FillRect(bitmap, 0, 0, width, height, WHITE);
  const flags = DRAW_ANNOTATIONS_IN_GRAY;
  pdfium._FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, 0, flags);
  const head = Buffer.from(`P5 ${width} ${height} 255\n`);
  const image = Buffer.concat([head, pdfium.HEAPU8.subarray(address, address + width * height)]);
  pdfium._FPDFBitmap_Destroy(bitmap);
  pdfium.wasmExports.free(address);
  return image;
}
