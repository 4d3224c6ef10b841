import { crc32, deflateSync } from "node:zlib";
import { pdfOf, pdfOfPages } from "./pdf-files.ts";

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
}

/** A white PNG of one bit a pixel. */
export function whitePng(width: number, height: number): Buffer {
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head[8] = 1;
  const row = Buffer.alloc(1 + Math.ceil(width / 8), 0xff).fill(0, 0, 1);
  const rows = Buffer.concat(Array<Buffer>(height).fill(row));
  return Buffer.concat([
    Buffer.from("\x89PNG\r\n\x1a\n", "latin1"),
    chunk("IHDR", head),
    chunk("IDAT", deflateSync(rows)),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

/** Asks for a password before it opens. */
export function encryptedPdf(): Buffer {
  const key = `<${"5a".repeat(32)}>`;
  return pdfOf(
    ["<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Count 0/Kids[]>>"],
    `/ID[${key}${key}]/Encrypt<</Filter/Standard/V 1/R 2/O ${key}/U ${key}/P -4>>`,
  );
}

/** So many pages, which are all the same object. */
export function pdfOfManyPages(count: number): Buffer {
  return pdfOf([
    "<</Type/Catalog/Pages 2 0 R>>",
    `<</Type/Pages/Count ${count}/Kids[${"3 0 R ".repeat(count)}]>>`,
    "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]>>",
  ]);
}

/** Its page tree contains itself. */
export function pdfWithCircleOfPages(): Buffer {
  return pdfOf([
    "<</Type/Catalog/Pages 2 0 R>>",
    "<</Type/Pages/Count 5/Kids[3 0 R]/Parent 3 0 R>>",
    "<</Type/Pages/Count 5/Kids[2 0 R 3 0 R]/Parent 2 0 R>>",
  ]);
}

/** Its page draws a form that draws itself, twice. */
export function pdfThatDrawsItself(): Buffer {
  const resources = "/Resources<</XObject<</F 4 0 R>>>>";
  return pdfOf([
    "<</Type/Catalog/Pages 2 0 R>>",
    "<</Type/Pages/Count 1/Kids[3 0 R]>>",
    `<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]${resources}/Contents 5 0 R>>`,
    {
      head: `<</Type/XObject/Subtype/Form/BBox[0 0 612 792]${resources}>>`,
      stream: Buffer.from("/F Do /F Do"),
    },
    { head: "<<>>", stream: Buffer.from("/F Do") },
  ]);
}

/** Each of `depth` forms draws the next one ten times. */
export function pdfOfNestedForms(depth: number): Buffer {
  const form = (number: number) => ({
    head:
      "<</Type/XObject/Subtype/Form/BBox[0 0 612 792]" +
      `/Resources<</XObject<</F ${number + 1} 0 R>>>>>>`,
    stream: Buffer.from(number === depth + 4 ? "0 0 9 9 re f" : "/F Do ".repeat(10)),
  });
  return pdfOf([
    "<</Type/Catalog/Pages 2 0 R>>",
    "<</Type/Pages/Count 1/Kids[3 0 R]>>",
    "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]" +
      "/Resources<</XObject<</F 5 0 R>>>>/Contents 4 0 R>>",
    { head: "<<>>", stream: Buffer.from("/F Do") },
    ...Array.from({ length: depth }, (_, at) => form(at + 5)),
  ]);
}

/** A page that shows an image of 20,000 × 20,000 pixels, packed into a few kilobytes. */
export function pdfWithImageBomb(): Buffer {
  const side = 20_000;
  return pdfOf([
    "<</Type/Catalog/Pages 2 0 R>>",
    "<</Type/Pages/Count 1/Kids[3 0 R]>>",
    "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]" +
      "/Resources<</XObject<</I 5 0 R>>>>/Contents 4 0 R>>",
    { head: "<<>>", stream: Buffer.from("612 0 0 792 0 0 cm /I Do") },
    {
      head:
        `<</Type/XObject/Subtype/Image/Width ${side}/Height ${side}/ColorSpace/DeviceGray` +
        "/BitsPerComponent 8/Filter[/FlateDecode/FlateDecode]>>",
      stream: deflateSync(deflateSync(Buffer.alloc(side * side), { level: 1 })),
    },
  ]);
}

/** A page of a metre by a metre. */
export const pdfOfMetrePage = () => pdfOfPages([["A metre wide"]], [2835, 2835]);

/** A page that is filled so many times over, some milliseconds each. */
export function slowPdf(fills: number): Buffer {
  return pdfOf([
    "<</Type/Catalog/Pages 2 0 R>>",
    "<</Type/Pages/Count 1/Kids[3 0 R]>>",
    "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R>>",
    {
      head: "<</Filter/FlateDecode>>",
      stream: deflateSync("0.5 g 0 0 612 792 re f\n".repeat(fills)),
    },
  ]);
}
