import { Readable } from "node:stream";
import { AppError } from "../errors.ts";
import { requireMediaType } from "./body.ts";
import { announcedLength } from "./headers.ts";
import { atMost, readBody, readUtf8 } from "./incoming.ts";
import { type Part, readParts } from "./multipart-parser.ts";
import type { Request } from "./request.ts";
import { invalid } from "./validate.ts";

export interface MultipartOptions<Fields, Result> {
  fileField: string;
  textFields: readonly string[];
  maxFileBytes: number;
  /** The public message of the 413. */
  tooLarge: string;
  /** Is asked before the body is read, with its announced length (0 when chunked). May refuse. */
  admit?: (bytes: number) => Promise<unknown>;
  /**
   * Reads the file to its end, or rejects, which stops the reading. The stream ends only when the
   * whole form was received and found good; else it is destroyed.
   */
  onFile: (
    file: { name: string; contentType: string; stream: Readable },
    fieldsBefore: Readonly<Record<string, string>>,
  ) => Promise<Result>;
  /** What the text fields mean, or throws what is wrong with them, before the file ends. */
  parseFields: (fields: Readonly<Record<string, string>>) => Fields;
}

/** For all that is not the file. */
const OVERHEAD_BYTES = 64 * 1024;
const MAX_TEXT_BYTES = 16 * 1024;

const BOUNDARY = /^[\w'()+,./:=? -]{0,69}[\w'()+,./:=?-]$/;

/**
 * Reads a form (RFC 7578) with one file and some text fields, in constant memory. 413, 415 or 422;
 * rejects with what ended it first, after `onFile` has settled.
 */
export async function readMultipart<Fields, Result>(
  request: Request,
  options: MultipartOptions<Fields, Result>,
): Promise<{ fields: Fields; file: Result }> {
  const boundary = requireMediaType(request, "multipart/form-data").get("boundary") ?? "";
  if (!BOUNDARY.test(boundary))
    throw new AppError("unsupported_media_type", "The form must have a well-formed boundary");
  const maxBytes = options.maxFileBytes + OVERHEAD_BYTES;
  const tooLarge = () => new AppError("content_too_large", options.tooLarge);
  if (announcedLength(request.headers) > maxBytes) throw tooLarge();
  await options.admit?.(announcedLength(request.headers));

  const failure = new AbortController();
  const { signal } = failure;
  // Not AbortSignal.any: Node keeps such a signal, with all that listens, until it is aborted.
  const stop = () => failure.abort(request.signal.reason);
  request.signal.addEventListener("abort", stop);
  if (request.signal.aborted) stop();
  const body = atMost(readBody(request, { signal }), maxBytes, tooLarge);
  const parts = readParts(body, boundary);
  const texts: Record<string, string> = Object.create(null);
  let fields: Fields | undefined;
  /** The file, whose end is told after the rest of the form was read. */
  async function* fileAndRest(content: AsyncIterable<Buffer>, isLeft: () => boolean) {
    try {
      yield* atMost(content, options.maxFileBytes, tooLarge);
      if (await readUpToFile(parts, texts, options))
        throw invalid("multiple_files", ["body", options.fileField], "Only one file is allowed");
      fields = options.parseFields(texts);
    } catch (error) {
      // A reader that has destroyed the stream says why itself.
      if (!isLeft()) failure.abort(error);
      throw error;
    }
  }
  try {
    const part = await readUpToFile(parts, texts, options);
    if (!part) throw invalid("missing", ["body", options.fileField], "A file is required");
    const chunks = fileAndRest(part.content, () => stream.destroyed);
    const stream = Readable.from(chunks, { objectMode: false }).on("error", () => {});
    signal.addEventListener("abort", () => stream.destroy(signal.reason));
    const { filename: name = "", contentType } = part;
    const file = await options.onFile({ name, contentType, stream }, { ...texts });
    if (!stream.readableEnded) throw new Error("The file was not read to its end");
    return { fields: fields as Fields, file };
  } catch (error) {
    failure.abort(error);
    await body.return(undefined);
    throw signal.reason;
  }
}

/** Reads text fields into `fields`. The next file; undefined at the form's end. */
async function readUpToFile(
  parts: AsyncIterator<Part>,
  fields: Record<string, string>,
  { fileField, textFields }: { fileField: string; textFields: readonly string[] },
): Promise<Part | undefined> {
  for (;;) {
    const { value: part, done } = await parts.next();
    if (done) return undefined;
    const { name, filename, content } = part;
    const fault = (type: string, msg: string) => invalid(type, ["body", name], msg);
    if (name === fileField) {
      if (filename === undefined) throw fault("file_expected", "Must be a file");
      return part;
    }
    if (!textFields.includes(name)) throw fault("extra_forbidden", "Unknown field");
    if (filename !== undefined) throw fault("text_expected", "Must be text, not a file");
    if (name in fields) throw fault("duplicate", "Given more than once");
    const tooLong = () => fault("too_long", `Must be at most ${MAX_TEXT_BYTES} bytes in UTF-8`);
    const text = await readUtf8(content, MAX_TEXT_BYTES, tooLong);
    if (text === undefined) throw fault("text_encoding", "Must be text in UTF-8");
    fields[name] = text;
  }
}
