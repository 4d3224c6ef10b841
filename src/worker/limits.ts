/** What one document may cost. Past a limit it is `Unreadable`, with a message of its own. */
export interface Limits {
  /** Bytes of the file. The engine process holds it in memory, twice for a PDF. */
  fileBytes: number;
  /** Pages of a PDF or a TIFF. */
  pages: number;
  /** Pixels of the longer side of an image, or of a PDF's page at 300 dots per inch. */
  side: number;
  /** Pixels of an image, or of a PDF's page at 300 dots per inch: an A2 sheet has 35 million. */
  pixels: number;
  /** Bytes of the text in UTF-8. */
  textBytes: number;
  /** Seconds between one page's end and the next's. Starting the engine process isn't counted. */
  pageSeconds: number;
  /** Seconds for all pages: below the 30 minutes after which RabbitMQ takes a message back. */
  documentSeconds: number;
  /** Resident memory of the engine process in bytes. Watched where there is `/proc` (Linux). */
  memoryBytes: number;
}

export const LIMITS: Limits = {
  fileBytes: 200_000_000,
  pages: 2_000,
  side: 10_000,
  pixels: 40_000_000,
  textBytes: 20_000_000,
  pageSeconds: 120,
  documentSeconds: 1_200,
  memoryBytes: 1_000_000_000,
};
