/** What one document may cost. Past a limit it is `Unreadable`, with a message of its own. */
export const LIMITS = {
  /** Bytes of the file. The engine process holds it in memory, twice for a PDF. */
  fileBytes: 200_000_000,
  /** Pages of a PDF or a TIFF. */
  pages: 2_000,
  /** Pixels of the longer side of an image, or of a PDF's page at 300 dots per inch. */
  side: 10_000,
  /** Pixels of an image, or of a PDF's page at 300 dots per inch: an A2 sheet has 35 million. */
  pixels: 40_000_000,
  /** Bytes of the text in UTF-8. */
  // A document of MongoDB has at most 16 MB.
  textBytes: 10_000_000,
  /** Seconds between one page's end and the next's. Starting the engine process isn't counted. */
  pageSeconds: 120,
  /** Seconds for all pages: below the 30 minutes after which RabbitMQ takes a message back. */
  documentSeconds: 1_200,
  /** Resident memory of the engine process in bytes. Watched where there is `/proc` (Linux). */
  memoryBytes: 1_000_000_000,
};
export type Limits = typeof LIMITS;
