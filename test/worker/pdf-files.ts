/** One object of a PDF: its dictionary, and its stream if it has one. */
export interface PdfObject {
  head: string;
  stream?: Buffer;
}

/** A PDF of these objects, numbered from 1; the first is the catalog. */
export function pdfOf(objects: readonly (string | PdfObject)[], trailer = ""): Buffer {
  const parts: Buffer[] = [Buffer.from("%PDF-1.7\n")];
  const offsets: number[] = [];
  let length = parts[0]?.length ?? 0;
  const add = (part: string | Buffer) => {
    const bytes = typeof part === "string" ? Buffer.from(part, "latin1") : part;
    parts.push(bytes);
    length += bytes.length;
  };
  for (const [at, object] of objects.entries()) {
    const { head, stream } = typeof object === "string" ? { head: object } : object;
    offsets.push(length);
    const size = stream ? head.replace(/>>$/, `/Length ${stream.length}>>`) : head;
    add(`${at + 1} 0 obj\n${size}\n`);
    if (stream) {
      add("stream\n");
      add(stream);
      add("\nendstream\n");
    }
    add("endobj\n");
  }
  const start = length;
  add(`xref\n0 ${objects.length + 1}\n0000000000 65535 f \n`);
  for (const offset of offsets) add(`${String(offset).padStart(10, "0")} 00000 n \n`);
  add(
    `trailer\n<</Size ${objects.length + 1}/Root 1 0 R${trailer}>>\nstartxref\n${start}\n%%EOF\n`,
  );
  return Buffer.concat(parts);
}

const FONT = "<</Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>";

/** What a page holds: lines of text, or a JPEG that covers it. */
export type PageContent = string[] | { jpeg: Buffer; width: number; height: number };

function show(content: PageContent): Buffer {
  if (!Array.isArray(content)) return Buffer.from("q 540 0 0 370 36 380 cm /I Do Q");
  const lines = content.map((line) => `(${line}) Tj T*`).join(" ");
  return Buffer.from(`BT /F1 12 Tf 14 TL 72 700 Td ${lines} ET`);
}

/** A PDF with a page for each content, of `size` points. */
export function pdfOfPages(contents: readonly PageContent[], size = [612, 792]): Buffer {
  const pageNumber = (index: number) => 3 + 3 * index;
  const objects: (string | PdfObject)[] = [
    "<</Type/Catalog/Pages 2 0 R>>",
    `<</Type/Pages/Count ${contents.length}/Kids[${contents
      .map((_, index) => `${pageNumber(index)} 0 R`)
      .join(" ")}]>>`,
  ];
  for (const [index, content] of contents.entries()) {
    const number = pageNumber(index);
    const image = `<</XObject<</I ${number + 2} 0 R>>>>`;
    objects.push(
      `<</Type/Page/Parent 2 0 R/MediaBox[0 0 ${size.join(" ")}]/Contents ${number + 1} 0 R` +
        `/Resources ${Array.isArray(content) ? FONT : image}>>`,
      { head: "<<>>", stream: show(content) },
    );
    if (Array.isArray(content)) objects.push("null");
    else {
      const head =
        `<</Type/XObject/Subtype/Image/Width ${content.width}/Height ${content.height}` +
        "/ColorSpace/DeviceGray/BitsPerComponent 8/Filter/DCTDecode>>";
      objects.push({ head, stream: content.jpeg });
    }
  }
  return pdfOf(objects);
}
