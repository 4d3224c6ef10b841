/** Characters (learn.microsoft.com, "Naming and referencing containers, blobs"). */
const MAX_KEY_LENGTH = 1024;

/** The keys of the server's own blobs, with the UUID apart; others are of other programs. */
export const OWN_KEY = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\//;

/** For what is no key, nor a URL of this store; it is not repeated. */
export class InvalidBlobKey extends Error {
  override readonly name = "InvalidBlobKey";
}

/**
 * 1 to 1024 characters that Azure's XML can carry, in segments, none of them empty, `.` or `..`.
 */
export function isKey(text: string): boolean {
  return (
    text.length <= MAX_KEY_LENGTH &&
    text.isWellFormed() &&
    !/[\p{Cc}\uFFFE\uFFFF]/u.test(text) &&
    text.split("/").every((segment) => segment !== "" && segment !== "." && segment !== "..")
  );
}

/** Whether `text` is a URL with an authority, which no key can be. */
export function isUrl(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(text);
}
