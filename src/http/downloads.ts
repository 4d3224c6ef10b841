/** What a `Range` header asks of `size` bytes (RFC 9110 §14.1.2): undefined means the whole, as if the header were absent. */
export type RangeRequest = { start: number; end: number } | "unsatisfiable" | undefined;

/**
 * One byte range, `end` included. Another unit, a malformed value and several ranges are ignored, as RFC 9110 §14.2 allows. Has a
 * meaning for GET only.
 */
export function parseRange(header: string | undefined, size: number): RangeRequest {
  const match = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(header ?? "");
  if (!match) return undefined;
  const [, first = "", last = ""] = match;
  if (first === "") return suffixRange(last, size);
  const start = Number(first);
  const end = last === "" ? Number.POSITIVE_INFINITY : Number(last);
  if (end < start) return undefined;
  if (start >= size) return "unsatisfiable";
  return { start, end: Math.min(end, size - 1) };
}

function suffixRange(digits: string, size: number): RangeRequest {
  if (digits === "") return undefined;
  const length = Number(digits);
  if (length === 0) return "unsatisfiable";
  // Of nothing the last bytes are nothing: no Content-Range can say so, the whole can.
  if (size === 0) return undefined;
  return { start: Math.max(0, size - length), end: size - 1 };
}

/** Whether `If-None-Match` names the strong entity tag `etag` (with its quotes): then a GET is answered 304 (RFC 9110 §13.1.2). */
export function matchesIfNoneMatch(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  if (header.trim() === "*") return true;
  return header.match(/"[\x21\x23-\x7e\x80-\xff]*"/g)?.includes(etag) ?? false;
}

/**
 * Whether `Range` may be applied (RFC 9110 §13.1.5): without `If-Range`, or when it is exactly the strong `etag`. A date or a weak tag
 * never matches: the whole is sent.
 */
export function rangeApplies(ifRange: string | undefined, etag: string): boolean {
  return ifRange === undefined || ifRange.trim() === etag;
}

/** `attachment` with the name in ASCII for old clients and in UTF-8 for the others (RFC 6266 §4.3, RFC 8187 §3.2). */
export function contentDisposition(filename: string): string {
  const name = filename.toWellFormed();
  // `%` too: some clients decode percent-escapes in the plain form.
  const ascii = Array.from(name, (character) =>
    /[^\x20-\x7e]|["%\\/]/.test(character) ? "_" : character,
  ).join("");
  const encoded = encodeURIComponent(name).replace(
    /['()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename="${ascii}"; filename*=UTF-8''${encoded}`;
}
