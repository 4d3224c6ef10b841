/** Characters: Azure's limit (learn.microsoft.com, "Naming and referencing containers, blobs"). */
const MAX_KEY_LENGTH = 1024;

/** A key that no store takes, or a URL that is not one of this store's; neither is repeated. */
export class InvalidBlobKey extends Error {
  override readonly name = "InvalidBlobKey";
}

/**
 * Whether `text` may be a key: 1 to 1024 characters in segments joined by `/`, none of them empty,
 * `.` or `..`, of characters that XML, and so Azure's lists, can carry; no control characters.
 */
export function isKey(text: string): boolean {
  return (
    text.length <= MAX_KEY_LENGTH &&
    text.isWellFormed() &&
    !/[\p{Cc}\uFFFE\uFFFF]/u.test(text) &&
    text.split("/").every((segment) => segment !== "" && segment !== "." && segment !== "..")
  );
}

/** Returns `key` if it is one, else throws `InvalidBlobKey`. */
export function checkKey(key: string): string {
  if (!isKey(key)) throw new InvalidBlobKey("This is not a blob key");
  return key;
}

/** Whether `text` is a URL with an authority; never true of a key, whose segments are not empty. */
export function isUrl(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(text);
}

/** Those whose last segment contains `query`, whatever its case, in any script. */
export function findNames(keys: readonly string[], query: string): string[] {
  const fold = (text: string) => text.toLowerCase().toUpperCase();
  return keys.filter((key) => fold(key.slice(key.lastIndexOf("/") + 1)).includes(fold(query)));
}
