import type { Readable } from "node:stream";
import { Dicer } from "@fastify/busboy";
import { AppError } from "../errors.ts";

const MAX_HEADER_BYTES = 16 * 1024;
const MAX_HEADERS = 32;

export type RawHeaders = Readonly<Record<string, readonly string[]>>;

/** Cuts a multipart body into parts (RFC 2046 §5.1). `finished` rejects when the body is malformed or ends early. */
export interface MultipartParser {
  /** Resolves when the parts' readers have made room for more. */
  write(chunk: Buffer): Promise<void>;
  end(): void;
  /** Settles after `end`, or earlier when the closing boundary was seen and all parts were read. */
  finished: Promise<void>;
}

/**
 * `onPart` is called for every part in turn, with its headers as they arrive: undefined when they were cut off. The parser waits for
 * the parts to be read.
 */
export function createParser(
  boundary: string,
  onPart: (part: Readable, headers: Promise<RawHeaders | undefined>) => void,
): MultipartParser {
  const dicer = new Dicer({
    boundary,
    maxHeaderPairs: MAX_HEADERS,
    maxHeaderSize: MAX_HEADER_BYTES,
  } as Dicer.Config);
  const { promise: finished, resolve, reject } = Promise.withResolvers<void>();
  finished.catch(() => {});
  let closed = false;
  let written = () => {};
  dicer.on("part", (part) => {
    // The parser tells of every fault itself.
    part.on("error", () => {});
    onPart(part, headersOf(part));
  });
  dicer.on("error", (cause) =>
    reject(malformed("The form ends before its closing boundary", cause)),
  );
  dicer.on("finish", () => {
    closed = true;
    resolve();
    // With the last part paused by its end, the parser never confirms the chunk that held the closing boundary.
    written();
  });
  return {
    finished,
    async write(chunk) {
      // What follows the closing boundary has no meaning.
      if (closed) return;
      await new Promise<void>((done, failed) => {
        written = done;
        dicer.write(chunk, (error) => (error ? failed(error) : done()));
      }).catch((cause) => {
        throw malformed("The form is malformed", cause);
      });
    },
    end() {
      if (!closed) dicer.end();
    },
  };
}

/** The fault of a body that is no well-formed form. */
export function malformed(msg: string, cause?: unknown): AppError {
  return new AppError("validation_failed", [{ type: "multipart_invalid", loc: ["body"], msg }], {
    cause,
  });
}

function headersOf(part: Readable): Promise<RawHeaders | undefined> {
  return new Promise((resolve) => {
    part.once("header", resolve);
    // Data or the end come after the headers; without them the headers were cut off.
    part.once("readable", () => resolve(undefined));
  });
}
