/**
 * The engine process: bytes in, text out. It has no environment, no database and no secret, reads
 * no file but its programs, writes none, calls no network, and lives no longer than its parent.
 */
import { Worker } from "node:worker_threads";
import type { Extracted, Order, Page, Report } from "./messages.ts";
import { loadOcr } from "./ocr.ts";
import { loadPdf } from "./pdf.ts";
import { type Engines, openDocument } from "./reading.ts";
import { countWords, languageOf, tidy } from "./text.ts";
import { tooMuchText, Unreadable } from "./unreadable.ts";

/** In the midst of a page only another thread sees that the parent is gone. */
const WATCH = `setInterval(() => {
  if (process.ppid !== ${process.ppid}) process.kill(process.pid, "SIGKILL");
}, 500)`;

const report = (message: Report) => process.send?.(message);

function receive(size: number): Promise<Buffer> {
  const bytes = Buffer.alloc(size);
  let length = 0;
  return new Promise((resolve) => {
    const take = (chunk: Buffer) => {
      length += chunk.copy(bytes, length);
      if (length < size) return;
      process.stdin.off("data", take).pause();
      resolve(bytes);
    };
    process.stdin.on("data", take).resume();
  });
}

/** Pages are parted by an empty line. Confidence is the pages' mean, weighted by their words. */
function join(pages: readonly Page[]): Extracted {
  const text = pages
    .map((page) => page.text)
    .filter((part) => part !== "")
    .join("\n\n");
  const words = pages.map((page) => countWords(page.text));
  const wordCount = words.reduce((sum, count) => sum + count, 0);
  if (wordCount === 0) {
    throw new Unreadable(
      "No text was found in the document. If it is a scan, send it sharper or in more contrast.",
    );
  }
  const sure = pages.reduce((sum, page, at) => sum + page.confidence * (words[at] ?? 0), 0);
  const language = languageOf(text);
  return { text, pageCount: pages.length, wordCount, confidence: sure / wordCount, language };
}

async function extract(order: Order, engines: Engines): Promise<Extracted> {
  const { limits } = order;
  const reading = openDocument(await receive(order.size), engines, limits);
  try {
    const total = reading.pageCount;
    const pages: Page[] = [];
    let bytes = 0;
    report({ kind: "page", done: 0, total });
    while (pages.length < total) {
      const { text, confidence } = reading.readPage(pages.length);
      const page = { text: tidy(text), confidence };
      bytes += Buffer.byteLength(page.text);
      if (bytes > limits.textBytes) throw tooMuchText(limits);
      pages.push(page);
      report({ kind: "page", done: pages.length, total });
      // Lets the report leave before the next page keeps this thread.
      await new Promise(setImmediate);
    }
    return join(pages);
  } finally {
    reading.close();
  }
}

process.once("disconnect", () => process.exit());
new Worker(WATCH, { eval: true });
const engines = { openPdf: await loadPdf(), recognize: await loadOcr() };

// Anything but `Unreadable` ends this process: who knows what state the engines are in.
process.on("message", async (order: Order) => {
  try {
    report({ kind: "done", extracted: await extract(order, engines) });
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    report({ kind: "unreadable", message: error.message });
  }
});
report({ kind: "ready" });
