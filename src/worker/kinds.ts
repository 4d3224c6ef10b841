export type Kind = "pdf" | "png" | "jpeg" | "tiff" | "bmp" | "webp" | "text";

const startsWith = (bytes: Buffer, text: string, at = 0): boolean =>
  bytes.toString("latin1", at, at + text.length) === text;

/** The sizes of the second header of a BMP, of all its versions. */
const BMP_HEADERS = [12, 40, 52, 56, 64, 108, 124];

/** What a file is by its first bytes; its name may lie. Text is what is nothing else. */
export function kindOf(bytes: Buffer): Kind {
  if (startsWith(bytes, "\x89PNG\r\n\x1a\n")) return "png";
  if (startsWith(bytes, "\xff\xd8\xff")) return "jpeg";
  if (startsWith(bytes, "II*\0") || startsWith(bytes, "MM\0*")) return "tiff";
  if (startsWith(bytes, "RIFF") && startsWith(bytes, "WEBP", 8)) return "webp";
  const isBmp = startsWith(bytes, "BM") && bytes.length > 26;
  if (isBmp && BMP_HEADERS.includes(bytes.readUInt32LE(14))) return "bmp";
  // ISO 32000 readers look for the header in the first 1,024 bytes.
  if (bytes.subarray(0, 1024).includes("%PDF-")) return "pdf";
  return "text";
}
