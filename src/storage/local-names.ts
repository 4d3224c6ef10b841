import { isKey } from "./keys.ts";

const NAME_BYTES = 255;
/** Ends a folder's name whose segment goes on below it. Percent-encoding never makes it. */
const CONTINUED = "%+";

function escaped(text: string): string {
  return text.replace(
    /[%\\:*?"<>|]|^\./g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function toNames(segment: string): string[] {
  if (Buffer.byteLength(escaped(segment)) <= NAME_BYTES) return [escaped(segment)];
  const names: string[] = [];
  let part = "";
  for (const character of segment) {
    if (Buffer.byteLength(escaped(part + character) + CONTINUED) > NAME_BYTES) {
      names.push(escaped(part) + CONTINUED);
      part = "";
    }
    part += character;
  }
  return [...names, escaped(part)];
}

/**
 * The path of `key` in the storage folder: the same segments, with `%`, what Windows forbids and a
 * leading dot percent-encoded. One of more than 255 bytes becomes nested folders.
 */
export function toPath(key: string): string {
  return key.split("/").flatMap(toNames).join("/");
}

/** The key whose path this is; undefined for a file that is no blob. */
export function toKey(path: string): string | undefined {
  try {
    const key = decodeURIComponent(path.replaceAll(`${CONTINUED}/`, ""));
    return isKey(key) && toPath(key) === path ? key : undefined;
  } catch {
    return undefined;
  }
}
