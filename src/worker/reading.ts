import { checkImage, chooseTiffPage, listTiffPages } from "./images.ts";
import { type Kind, kindOf } from "./kinds.ts";
import type { Limits } from "./limits.ts";
import type { Page } from "./messages.ts";
import type { Recognize } from "./ocr.ts";
import { DOTS_PER_INCH, type loadPdf, type PdfPage } from "./pdf.ts";
import { readPlainText } from "./plain-text.ts";
import { countLetters } from "./text.ts";
import { tooMuchText, Unreadable } from "./unreadable.ts";

export interface Engines {
  openPdf: Awaited<ReturnType<typeof loadPdf>>;
  recognize: Recognize;
}

/** The pages of a document, each read when it is asked for. All may throw `Unreadable`. */
export interface Reading {
  pageCount: number;
  readPage(index: number): Page;
  close(): void;
}

/** A scanner's stamp has fewer letters than this. */
const FEW_LETTERS = 50;

/** Opens a document of any kind that is read. May change `bytes`. */
export function openDocument(bytes: Buffer, engines: Engines, limits: Limits): Reading {
  const kind = kindOf(bytes);
  if (kind === "pdf") return openPdf(bytes, engines, limits);
  if (kind === "text") {
    // No encoding that is read has more than two bytes for a byte of UTF-8.
    if (bytes.length > 2 * limits.textBytes) throw tooMuchText(limits);
    const readPage = () => ({ text: readPlainText(bytes), confidence: 1 });
    return { pageCount: 1, readPage, close: () => {} };
  }
  return openImage(kind, bytes, engines, limits);
}

function openPdf(bytes: Buffer, { openPdf, recognize }: Engines, limits: Limits): Reading {
  const pdf = openPdf(bytes, limits);
  return {
    pageCount: pdf.pageCount,
    close: pdf.close,
    readPage(index) {
      const page = pdf.openPage(index);
      try {
        return readPdfPage(page, recognize);
      } finally {
        page.close();
      }
    },
  };
}

/** The text layer, or what OCR sees where there is none, or only a few letters over an image. */
function readPdfPage(page: PdfPage, recognize: Recognize): Page {
  const layer = { text: page.text(), confidence: 1 };
  const letters = countLetters(layer.text);
  if (letters >= FEW_LETTERS || (letters > 0 && !page.hasImage())) return layer;
  const seen = recognize(page.draw(), { orientation: 1, dotsPerInch: DOTS_PER_INCH });
  return seen && countLetters(seen.text) > letters ? seen : layer;
}

function openImage(kind: Kind, bytes: Buffer, { recognize }: Engines, limits: Limits): Reading {
  const pages = kind === "tiff" ? listTiffPages(bytes, limits) : [0];
  return {
    pageCount: pages.length,
    close: () => {},
    readPage(index) {
      const name = pages.length > 1 ? `Page ${index + 1}` : "The image";
      if (kind === "tiff") chooseTiffPage(bytes, pages[index] ?? 0);
      const orientation = checkImage(name, bytes, limits);
      const page = recognize(bytes, { orientation, dotsPerInch: 0 });
      if (!page) {
        throw new Unreadable(
          `${name} is damaged, or packed in a way that isn't read (TIFF: other than LZW or fax). ` +
            "Save it as a PNG and send that.",
        );
      }
      return page;
    },
  };
}
