import { addAbortSignal, Readable } from "node:stream";
import { AppError } from "../errors.ts";
import { requireIdentityCoding } from "./body.ts";
import { parseMediaType } from "./header-values.ts";
import { announcedLength, readChunks } from "./incoming.ts";
import { createParser, malformed, type RawHeaders } from "./multipart-parser.ts";
import { type PartHeaders, readPartHeaders } from "./part-headers.ts";
import { ClientGone, type Request } from "./request.ts";

export interface MultipartOptions<Fields, Result> {
  fileField: string;
  textFields: readonly string[];
  /** A file of exactly so many bytes passes. */
  maxFileBytes: number;
  /** Bytes of one text field, 16 KiB unless told. */
  maxTextBytes?: number;
  /** The public message of the 413. */
  tooLarge: string;
  /**
   * Takes the file as it arrives, with the text fields that came before it. The stream ends only when the whole form was received and
   * found good; otherwise it is destroyed with the reason, so that nobody keeps half a file. A rejection stops the reading at once.
   */
  onFile: (
    file: { name: string; contentType: string; stream: Readable },
    fieldsBefore: Readonly<Record<string, string>>,
  ) => Promise<Result>;
  /** What the text fields mean, or throws what is wrong with them, before the file's stream is told its end. */
  parseFields: (fields: Readonly<Record<string, string>>) => Fields;
  /** Undoes an `onFile` that was fulfilled although the form failed. */
  discard?: (result: Result) => Promise<void>;
}

/** Room for everything in the body that is not the file. */
const OVERHEAD_BYTES = 64 * 1024;

/** RFC 2046 §5.1.1. */
const BOUNDARY = /^[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]$/;

/**
 * Reads a form (RFC 7578) with one file and some text fields, in constant memory. 415, 413 or 422 for what breaks the rules; whatever
 * ends it first decides, and the promise rejects with that after `onFile` has settled.
 */
export async function readMultipart<Fields, Result>(
  request: Request,
  options: MultipartOptions<Fields, Result>,
): Promise<{ fields: Fields; file: Result }> {
  const boundary = boundaryOf(request);
  const maxBytes = options.maxFileBytes + OVERHEAD_BYTES;
  const tooLarge = () => new AppError("content_too_large", options.tooLarge);
  if ((announcedLength(request) ?? 0) > maxBytes) throw tooLarge();

  const failure = new AbortController();
  const { promise: failed, reject } = Promise.withResolvers<never>();
  failed.catch(() => {});
  const fields: Record<string, string> = Object.create(null);
  let file: { stream: Readable; result: Promise<Result> } | undefined;
  const fail = (reason: unknown) => {
    if (failure.signal.aborted) return;
    failure.abort(reason);
    reject(reason);
    file?.stream.destroy(reason instanceof Error ? reason : new Error("The form failed"));
  };

  async function takeFile(
    part: Readable,
    { contentType, filename: name = "" }: PartHeaders,
  ): Promise<void> {
    if (file) throw invalid("multiple_files", options.fileField, "Only one file is allowed");
    const { stream, wanted } = createFileStream();
    const result = (async () => options.onFile({ name, contentType, stream }, { ...fields }))();
    file = { stream, result };
    result.then(() => stream.resume(), fail);
    let size = 0;
    for await (const chunk of part) {
      size += chunk.length;
      if (size > options.maxFileBytes) throw tooLarge();
      if (!stream.destroyed && !stream.push(chunk)) await wanted();
    }
  }

  async function takePart(part: Readable, raw: RawHeaders | undefined): Promise<void> {
    // The form may have failed while this part waited for its turn: no file is opened any more.
    failure.signal.throwIfAborted();
    const headers = raw && readPartHeaders(raw);
    if (!headers) throw malformed("A part of the form has malformed headers");
    const { name, filename } = headers;
    if (name === options.fileField) {
      if (filename === undefined) throw invalid("file_expected", name, "Must be a file");
      return takeFile(part, headers);
    }
    if (!options.textFields.includes(name)) throw invalid("extra_forbidden", name, "Unknown field");
    if (filename !== undefined) throw invalid("text_expected", name, "Must be text, not a file");
    if (name in fields) throw invalid("duplicate", name, "Given more than once");
    fields[name] = await readField(part, name, options.maxTextBytes ?? 16 * 1024);
  }

  // One part after the other: the fields before the file must be known when it is opened.
  let parts: Promise<void> = Promise.resolve();
  let partsLeft = options.textFields.length + 2;
  const parser = createParser(boundary, (part, headers) => {
    addAbortSignal(failure.signal, part);
    if (--partsLeft < 0) return fail(malformed("The form has too many parts"));
    parts = parts.then(async () => takePart(part, await headers));
    parts.catch(fail);
  });
  parser.finished.catch(fail);

  const onAbort = () => fail(new ClientGone());
  request.signal.addEventListener("abort", onAbort);
  try {
    let received = 0;
    const write = (chunk: Buffer) => {
      received += chunk.length;
      if (received > maxBytes) throw tooLarge();
      return parser.write(chunk);
    };
    await readChunks(request, write, failure.signal);
    parser.end();
    await Promise.race([parser.finished.then(() => parts), failed]);
    if (!file) throw invalid("missing", options.fileField, "A file is required");
    const parsed = options.parseFields(fields);
    file.stream.push(null);
    const result = await file.result;
    failure.signal.throwIfAborted();
    return { fields: parsed, file: result };
  } catch (error) {
    fail(error);
    await file?.result.then(options.discard, () => {});
    throw failure.signal.reason;
  } finally {
    request.signal.removeEventListener("abort", onAbort);
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

/** The stream that the consumer sees; `wanted` resolves when it asks for more, or is destroyed: then the rest is read for nothing. */
function createFileStream(): { stream: Readable; wanted: () => Promise<void> } {
  let wake = () => {};
  const stream = new Readable({
    read: () => wake(),
    destroy(error, done) {
      wake();
      done(error);
    },
  });
  // A consumer that refused the file at once does not listen.
  stream.on("error", () => {});
  const wanted = () =>
    new Promise<void>((resolve) => {
      wake = resolve;
    });
  return { stream, wanted };
}

async function readField(part: Readable, name: string, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of part) {
    size += chunk.length;
    if (size > maxBytes)
      throw invalid("too_long", name, `Must be at most ${maxBytes} bytes in UTF-8`);
    chunks.push(chunk);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.concat(chunks));
  } catch {
    throw invalid("text_encoding", name, "Must be text in UTF-8");
  }
}

function invalid(type: string, field: string, msg: string): AppError {
  return new AppError("validation_failed", [{ type, loc: ["body", field], msg }]);
}
