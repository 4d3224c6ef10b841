import type { Headers } from "./replies.ts";

/**
 * The range of `size` bytes that `Range` asks for, `end` included (RFC 9110 §14.1.2); undefined is
 * the whole. Other units, malformed values and several ranges are ignored (§14.2).
 */
export function parseRange(
  header: string | undefined,
  size: number,
): { start: number; end: number } | "unsatisfiable" | undefined {
  const [, first = "", last = ""] = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(header ?? "") ?? [];
  if (first === "" && last === "") return undefined;
  if (first === "") {
    if (Number(last) === 0) return "unsatisfiable";
    // No Content-Range can tell the last bytes of nothing.
    return size === 0 ? undefined : { start: Math.max(0, size - Number(last)), end: size - 1 };
  }
  const start = Number(first);
  const end = last === "" ? Number.POSITIVE_INFINITY : Number(last);
  if (end < start) return undefined;
  return start >= size ? "unsatisfiable" : { start, end: Math.min(end, size - 1) };
}

/** Whether `If-None-Match` names the strong `etag` (with its quotes): 304 (RFC 9110 §13.1.2). */
export function matchesIfNoneMatch(header = "", etag: string): boolean {
  if (header.trim() === "*") return true;
  return header.match(/"[\x21\x23-\x7e\x80-\xff]*"/g)?.includes(etag) ?? false;
}

/** Whether `If-Range` lets `Range` apply (RFC 9110 §13.1.5): a date or a weak tag never does. */
export function rangeApplies(ifRange: string | undefined, etag: string): boolean {
  return ifRange === undefined || ifRange.trim() === etag;
}

/**
 * Makes an answer a download under this name (RFC 6266 §4.3, RFC 8187 §3.2). In a browser that
 * shows it all the same it runs nothing.
 */
export function attachment(filename: string): Headers {
  const name = filename.toWellFormed();
  // `%` too: some clients decode percent-escapes in the plain form.
  const ascii = name.replace(/[^\x20-\x7e]|["%\\/]/gu, "_");
  const encoded = encodeURIComponent(name).replace(
    /['()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return {
    "Content-Disposition": `attachment; filename="${ascii}"; filename*=UTF-8''${encoded}`,
    "Content-Security-Policy": "sandbox",
  };
}
