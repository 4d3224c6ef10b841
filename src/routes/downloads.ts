import type { Caller } from "../domain/authority.ts";
import type { Documents } from "../domain/documents.ts";
import { AppError } from "../errors.ts";
import { attachment, matchesIfNoneMatch, parseRange, rangeApplies } from "../http/downloads.ts";
import type { Reply } from "../http/replies.ts";
import type { Request } from "../http/request.ts";
import type { ByteRange } from "../storage/storage.ts";
import { docIdOf } from "./inputs.ts";

/** RFC 9110 §13 and §14: conditions first, then a single range. */
export async function download(
  documents: Documents,
  request: Request,
  caller: Caller,
): Promise<Reply> {
  const docId = docIdOf(request);
  const file = await documents.download(caller, docId);
  const etag = `"${file.tag}"`;
  const headers = { ETag: etag, "Accept-Ranges": "bytes" };
  if (matchesIfNoneMatch(request.headers["if-none-match"], etag)) return { status: 304, headers };

  const range = requestedRange(request, etag, file.size);
  const { start, end } = range ?? { start: 0, end: file.size - 1 };
  const reply = {
    status: range ? 206 : 200,
    headers: {
      ...headers,
      "Content-Type": file.contentType,
      ...attachment(file.filename),
      "Content-Length": String(end - start + 1),
      ...(range && { "Content-Range": `bytes ${start}-${end}/${file.size}` }),
    },
  };
  if (request.method === "HEAD") return reply;
  await documents.recordDownload(caller, docId, { start, end });
  return { ...reply, body: await file.open(range) };
}

/** The part that `Range` asks for; undefined for the whole. 416 when the file has no such part. */
function requestedRange(request: Request, etag: string, size: number): ByteRange | undefined {
  const { range, "if-range": ifRange } = request.headers;
  if (request.method !== "GET" || !rangeApplies(ifRange as string | undefined, etag))
    return undefined;
  const parsed = parseRange(range, size);
  if (parsed !== "unsatisfiable") return parsed;
  throw new AppError("range_not_satisfiable", "The file does not have this range.", {
    headers: { "Content-Range": `bytes */${size}` },
  });
}
