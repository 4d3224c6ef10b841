import { Readable } from "node:stream";
import { AppError } from "../errors.ts";
import { requireIdentityCoding } from "./body.ts";
import { parseMediaType } from "./header-values.ts";
import { announcedLength, atMost, collect, readBody } from "./incoming.ts";
import { MultipartParser } from "./multipart-parser.ts";
import type { PartHeaders } from "./part-headers.ts";
import type { Request } from "./request.ts";

export interface MultipartOptions<Fields, Result> {
  fileField: string;
  textFields: readonly string[];
  /** A file of exactly so many bytes passes. */
  maxFileBytes: number;
  /** The public message of the 413. */
  tooLarge: string;
  /**
   * Takes the file as it arrives, with the text fields that came before it, and reads it to its end
   * or rejects, which stops the reading at once. The stream ends only when the whole form was
   * received and found good; else it is destroyed, so that nobody keeps half a file.
   */
  onFile: (
    file: { name: string; contentType: string; stream: Readable },
    fieldsBefore: Readonly<Record<string, string>>,
  ) => Promise<Result>;
  /** What the text fields mean, or throws what is wrong with them, before the file's end is told. */
  parseFields: (fields: Readonly<Record<string, string>>) => Fields;
}

/** Room for everything in the body that is not the file. */
const OVERHEAD_BYTES = 64 * 1024;
const MAX_TEXT_BYTES = 16 * 1024;

/** RFC 2046 §5.1.1. */
const BOUNDARY = /^[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]$/;

/**
 * Reads a form (RFC 7578) with one file and some text fields, in constant memory. 415, 413 or 422
 * for what breaks the rules; whatever ends it first decides, and the promise rejects with that after
 * `onFile` has settled.
 */
export async function readMultipart<Fields, Result>(
  request: Request,
  options: MultipartOptions<Fields, Result>,
): Promise<{ fields: Fields; file: Result }> {
  const boundary = boundaryOf(request);
  const maxBytes = options.maxFileBytes + OVERHEAD_BYTES;
  const tooLarge = () => new AppError("content_too_large", options.tooLarge);
  if (announcedLength(request.headers) > maxBytes) throw tooLarge();

  const failure = new AbortController();
  const signal = AbortSignal.any([request.signal, failure.signal]);
  const body = atMost(readBody(request, signal), maxBytes, tooLarge);
  const parser = new MultipartParser(body, boundary);
  const texts: Record<string, string> = Object.create(null);
  let fields: Fields | undefined;
  /** The file and, before its end is told, the rest of the form. */
  async function* fileAndRest() {
    yield* atMost(parser.content(), options.maxFileBytes, tooLarge);
    if (await readUpToFile(parser, texts, options))
      throw invalid("multiple_files", options.fileField, "Only one file is allowed");
    fields = options.parseFields(texts);
  }
  try {
    const headers = await readUpToFile(parser, texts, options);
    if (!headers) throw invalid("missing", options.fileField, "A file is required");
    const { filename: name = "", contentType } = headers;
    const stream = streamOf(fileAndRest(), failure, signal);
    const file = await options.onFile({ name, contentType, stream }, { ...texts });
    if (!stream.readableEnded) throw new Error("The file was not read to its end");
    return { fields: fields as Fields, file };
  } catch (error) {
    failure.abort(error);
    throw signal.reason;
  }
}

/** A stream of `chunks`. Their failure aborts `failure`, and `signal` destroys the stream. */
function streamOf(
  chunks: AsyncGenerator<Buffer>,
  failure: AbortController,
  signal: AbortSignal,
): Readable {
  const destroy = () => stream.destroy(signal.reason);
  const stream = new Readable({
    read() {
      chunks.next().then(
        ({ value }) => stream.push(value ?? null),
        (error) => {
          failure.abort(error);
          destroy();
        },
      );
    },
  });
  // A consumer that refused the file at once does not listen.
  stream.on("error", () => {});
  signal.addEventListener("abort", destroy);
  return stream;
}

/** Reads text fields into `fields`. The headers of the next file, or undefined at the form's end. */
async function readUpToFile(
  parser: MultipartParser,
  fields: Record<string, string>,
  { fileField, textFields }: Pick<MultipartOptions<unknown, unknown>, "fileField" | "textFields">,
): Promise<PartHeaders | undefined> {
  for (;;) {
    const headers = await parser.nextPart();
    if (!headers) return undefined;
    const { name, filename } = headers;
    if (name === fileField) {
      if (filename === undefined) throw invalid("file_expected", name, "Must be a file");
      return headers;
    }
    if (!textFields.includes(name)) throw invalid("extra_forbidden", name, "Unknown field");
    if (filename !== undefined) throw invalid("text_expected", name, "Must be text, not a file");
    if (name in fields) throw invalid("duplicate", name, "Given more than once");
    fields[name] = await readText(parser.content(), name);
  }
}

function boundaryOf(request: Request): string {
  const media = parseMediaType(request.headers["content-type"]);
  const boundary = media?.parameters.get("boundary");
  if (media?.type !== "multipart/form-data" || boundary === undefined || !BOUNDARY.test(boundary)) {
    throw new AppError(
      "unsupported_media_type",
      "The body must be multipart/form-data with a boundary",
    );
  }
  requireIdentityCoding(request.headers["content-encoding"]);
  return boundary;
}

async function readText(content: AsyncIterable<Buffer>, name: string): Promise<string> {
  const tooLong = () =>
    invalid("too_long", name, `Must be at most ${MAX_TEXT_BYTES} bytes in UTF-8`);
  const bytes = await collect(atMost(content, MAX_TEXT_BYTES, tooLong));
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw invalid("text_encoding", name, "Must be text in UTF-8");
  }
}

function invalid(type: string, field: string, msg: string): AppError {
  return new AppError("validation_failed", [{ type, loc: ["body", field], msg }]);
}
