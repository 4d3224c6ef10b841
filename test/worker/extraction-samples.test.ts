import assert from "node:assert/strict";
import { test } from "node:test";
import { pdfOf, pdfOfPages } from "./pdf-files.ts";
import { createReader, file, sample } from "./reader.ts";

function assertHas(text: string, parts: readonly string[]): void {
  for (const part of parts) assert.ok(text.includes(part), `${part} is not in: ${text}`);
}

test("the samples become text", async (context) => {
  const { read } = createReader(context);

  const notes = await read(sample("notes.txt"));
  assertHas(notes.extracted_text, ["The archive moves to the new building in May.", "محضر اجتماع"]);
  assert.deepEqual(
    [notes.ocr.page_count, notes.ocr.avg_confidence, notes.ocr.primary_language],
    [1, 1, "en"],
  );
  assert.equal(notes.ocr.word_count, 23);

  const pages: string[] = [];
  const report = await read(sample("report.pdf"), (done, total) => pages.push(`${done}/${total}`));
  assertHas(report.extracted_text, [
    "QMR-2026-0317",
    "north pump was replaced",
    "تقرير الصيانة الفصلي",
  ]);
  assertHas(report.extracted_text, ["المرجع: QMR-2026-0317. أُعدّ هذا التقرير لأرشيف المرافق."]);
  assertHas(report.extracted_text, [
    "وتمت صيانة الضاغطين واستبدال المضخة الشمالية\nبعد عطل في المحمل.",
  ]);
  assert.deepEqual(
    [report.ocr.page_count, report.ocr.avg_confidence, report.ocr.primary_language],
    [2, 1, "en"],
  );
  assert.deepEqual(pages, ["0/2", "1/2", "2/2"]);

  const invoice = await read(sample("invoice-scan.jpg"));
  assertHas(invoice.extracted_text, [
    "INVOICE 4471",
    "Archive boxes 40 312.00",
    "Total due: 425.40",
  ]);
  assert.ok(
    invoice.ocr.avg_confidence > 0.8 && invoice.ocr.avg_confidence <= 1,
    `${invoice.ocr.avg_confidence}`,
  );
  assert.deepEqual([invoice.ocr.page_count, invoice.ocr.primary_language], [1, "en"]);

  const letter = await read(sample("letter-scan.png"));
  // The engine takes نرجو for ترجو and فائق for فاثق.
  const words = ["المحترم", "رجو حفظ هذه الوثيقة في ملف العقود", "وتفضلوا بقبول فا", "ق الاحترام"];
  assertHas(letter.extracted_text, words);
  assert.equal(letter.ocr.primary_language, "ar");

  const scanned = await read(sample("scanned.pdf"));
  assertHas(scanned.extracted_text, ["INVOICE 4471", "Total due: 425.40", ...words]);
  assert.ok(scanned.extracted_text.indexOf("INVOICE") < scanned.extracted_text.indexOf("الوثيقة"));
  assert.deepEqual([scanned.ocr.page_count, scanned.ocr.primary_language], [2, "ar"]);
});

test("images of each kind are read, upright, and all pages of a TIFF", async (context) => {
  const { read } = createReader(context);
  for (const name of ["word.png", "word.webp", "turned.jpg"]) {
    assert.equal((await read(file(name))).extracted_text, "INVOICE 4471", name);
  }
  const tiff = await read(file("two-pages.tiff"));
  assert.equal(tiff.extracted_text, "INVOICE 4471\n\nTotal due 425");
  assert.equal(tiff.ocr.page_count, 2);
});

test("a PDF has pages with text and pages without", async (context) => {
  const { read } = createReader(context);
  const jpeg = { jpeg: sample("invoice-scan.jpg"), width: 1130, height: 774 };
  const stamped = await read(pdfOfPages([["Cover sheet"], jpeg, ["The end"]]));
  assert.match(stamped.extracted_text, /^Cover sheet\n\n[\s\S]*425\.40[\s\S]*\n\nThe end$/);
  assert.equal(stamped.ocr.page_count, 3);
  assert.ok(
    stamped.ocr.avg_confidence > 0.8 && stamped.ocr.avg_confidence < 1,
    `${stamped.ocr.avg_confidence}`,
  );
});

test("a stamp over a scan that is drawn by a form doesn't hide the scan", async (context) => {
  const { read } = createReader(context);
  const form = "/Type/XObject/Subtype/Form/BBox[0 0 612 792]/Resources<</XObject<</I 5 0 R>>>>";
  const image =
    "/Type/XObject/Subtype/Image/Width 1130/Height 774/ColorSpace/DeviceGray/BitsPerComponent 8";
  const font = "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>";
  const stamped = pdfOf([
    "<</Type/Catalog/Pages 2 0 R>>",
    "<</Type/Pages/Count 1/Kids[3 0 R]>>",
    "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 6 0 R" +
      `/Resources<</XObject<</F 4 0 R>>/Font<</F1 ${font}>>>>>>`,
    { head: `<<${form}>>`, stream: Buffer.from("q 540 0 0 370 36 380 cm /I Do Q") },
    { head: `<<${image}/Filter/DCTDecode>>`, stream: sample("invoice-scan.jpg") },
    { head: "<<>>", stream: Buffer.from("/F Do BT /F1 12 Tf 72 60 Td (Scan 7) Tj ET") },
  ]);
  assert.match((await read(stamped)).extracted_text, /INVOICE 4471/);
});
