import assert from "node:assert/strict";
import { test } from "node:test";
import { Unreadable } from "../../src/worker/limits.ts";
import {
  encryptedPdf,
  pdfOfManyPages,
  pdfOfMetrePage,
  pdfOfNestedForms,
  pdfThatDrawsItself,
  pdfWithCircleOfPages,
  pdfWithImageBomb,
  slowPdf,
  whitePng,
} from "./hostile-files.ts";
import { createReader, type Reader, sample } from "./reader.ts";

/** Reads the document, which must fail with this message, and after it a good one. */
async function refuse(reader: Reader, bytes: Buffer, message: RegExp): Promise<void> {
  await assert.rejects(reader.read(bytes), (error) => {
    assert.ok(error instanceof Unreadable, String(error));
    assert.match(error.message, message);
    return true;
  });
  const good = await reader.read(sample("notes.txt"));
  assert.match(good.extracted_text, /new building in May/);
}

test("what can't be read is said with what to do, and the next document is fine", async (context) => {
  const reader = createReader(context);
  const report = sample("report.pdf");
  const pdf = (text: string) => Buffer.from(text);
  const cases: [string, Buffer, RegExp][] = [
    ["half a PDF", report.subarray(0, 20_000), /^The PDF is damaged\. .*new PDF/],
    ["a PDF's head", pdf("%PDF-1.7\n"), /^The PDF is damaged/],
    ["a PDF with a password", encryptedPdf(), /needs a password\. Send a copy without one/],
    [
      "20,000 pages",
      pdfOfManyPages(20_000),
      /too many pages \(20,000; at most 2,000\)\. Split it\.$/,
    ],
    ["a metre", pdfOfMetrePage(), /^Page 1 .*too large \(11,813 × 11,813 pixels; at most 10,000/],
    ["pages in a circle", pdfWithCircleOfPages(), /^Page 1 of the PDF is damaged/],
    ["an image bomb", whitePng(30_000, 30_000), /^The image is too large \(30,000 × 30,000/],
    ["an empty image", whitePng(600, 300), /^No text was found/],
    ["a damaged image", Buffer.from("\x89PNG\r\n\x1a\nIHDR", "latin1"), /^The image is damaged/],
    ["half an image", sample("letter-scan.png").subarray(0, 40), /^The image is damaged/],
    ["a text with NULs", Buffer.from("one\0two"), /binary file.* Send a PDF, a PNG, JPEG, TIFF/],
    ["only white space", Buffer.from(" \r\n\t\u00a0\n"), /^No text was found/],
    ["nothing", Buffer.alloc(0), /^The file is empty/],
  ];
  for (const [name, bytes, message] of cases) {
    context.diagnostic(name);
    await refuse(reader, bytes, message);
  }
  for (const { exitCode } of reader.processes) assert.equal(exitCode, 0);
});

test("what takes too much memory is ended", async (context) => {
  const memoryBytes = 500_000_000;
  const isWatched = process.platform === "linux";
  if (!isWatched) return context.skip("memory is watched by /proc");
  const reader = createReader(context, { memoryBytes });
  const message = /^The document takes more memory than 500 MB to read\. Split/;
  await refuse(reader, pdfWithImageBomb(), message);
  await refuse(reader, pdfThatDrawsItself(), message);
  await refuse(reader, pdfOfNestedForms(9), message);
});

test("what takes too long is ended", async (context) => {
  const page = createReader(context, { pageSeconds: 2 });
  await refuse(page, slowPdf(50_000), /^A page takes longer than 2 seconds to read\. Split/);
  const document = createReader(context, { documentSeconds: 2 });
  await refuse(document, slowPdf(50_000), /^The document takes longer than 2 seconds/);
});

test("limits of bytes are kept, of the file and of its text", async (context) => {
  const reader = createReader(context, { fileBytes: 1_000_000, textBytes: 1_000 });
  await refuse(reader, Buffer.alloc(1_000_001, "a "), /^The file is too large .*at most 1 MB/);
  await refuse(reader, Buffer.alloc(2_001, "a "), /too much text \(over 0 MB\)\. Split it\.$/);
  await refuse(reader, Buffer.alloc(1_001, "a "), /too much text/);
  assert.equal((await reader.read(Buffer.alloc(1_000, "ab"))).extracted_text.length, 1_000);
});
