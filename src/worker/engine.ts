/**
 * The engine process: one document in, its text out. It has no environment and no secret, reads no
 * file but its programs, writes none, calls no network, and ends with its parent.
 */
import { Worker } from "node:worker_threads";
import type { Extraction, Order, Report } from "./extraction.ts";
import { checkText, spell, tooMuch, Unreadable } from "./limits.ts";
import { openDocument } from "./reading.ts";
import { countWords, languageOf, tidy } from "./text.ts";

/** In the midst of a page only another thread sees that the parent is gone. */
const WATCH = `setInterval(() => {
  if (process.ppid !== ${process.ppid}) process.kill(process.pid, "SIGKILL");
}, 500)`;

const NO_TEXT =
  "No text was found in the document. If it is a scan, send it sharper or in more contrast.";

/** Resolves when the report has left, which a page could keep it from. */
const report = (message: Report) => new Promise((resolve) => process.send?.(message, resolve));

async function extract({ size, limits }: Order): Promise<Extraction> {
  const bytes = Buffer.alloc(size);
  let length = 0;
  for await (const chunk of process.stdin) length += chunk.copy(bytes, length);
  await report({ kind: "received" });
  const started = performance.now();
  const { pageCount, readPage } = await openDocument(bytes, limits);
  if (pageCount > limits.pages) {
    const counts = `${spell(pageCount)}; at most ${spell(limits.pages)}`;
    throw tooMuch(`The document has too many pages (${counts})`, "Split it.");
  }
  const texts: string[] = [];
  let [textBytes, wordCount, sure] = [0, 0, 0];
  await report({ kind: "page", done: 0, total: pageCount });
  for (let done = 0; done < pageCount; ) {
    const page = await readPage(done);
    const text = tidy(page.text);
    textBytes += Buffer.byteLength(text);
    checkText(textBytes, limits);
    if (text !== "") texts.push(text);
    const words = countWords(text);
    wordCount += words;
    sure += page.confidence * words;
    done += 1;
    await report({ kind: "page", done, total: pageCount });
  }
  if (wordCount === 0) throw new Unreadable(NO_TEXT);
  const text = texts.join("\n\n");
  const ocr = {
    page_count: pageCount,
    word_count: wordCount,
    // The mean of the pages, weighted by their words.
    avg_confidence: Math.round((sure / wordCount) * 10_000) / 10_000,
    primary_language: languageOf(text),
    elapsed_seconds: (performance.now() - started) / 1_000,
  };
  return { extracted_text: text, ocr };
}

process.once("disconnect", () => process.exit());
new Worker(WATCH, { eval: true });
try {
  await report({ kind: "done", extraction: await extract(JSON.parse(process.argv[2] ?? "")) });
} catch (error) {
  if (!(error instanceof Unreadable)) throw error;
  await report({ kind: "unreadable", message: error.message });
}
process.exit();
