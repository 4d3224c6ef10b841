import { sep } from "node:path";
import { isKey } from "./keys.ts";

/** Bytes. */
const NAME_MAX = 255;
/** Ends the name of a folder whose segment goes on below it; percent-encoding never makes it. */
const CONTINUED = "%+";

function escaped(text: string): string {
  return text.replace(
    /[%\\:*?"<>|]|^\./g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function toNames(segment: string): string[] {
  if (Buffer.byteLength(escaped(segment)) <= NAME_MAX) return [escaped(segment)];
  const names: string[] = [];
  let part = "";
  for (const character of segment) {
    if (Buffer.byteLength(escaped(part + character) + CONTINUED) > NAME_MAX) {
      names.push(escaped(part) + CONTINUED);
      part = "";
    }
    part += character;
  }
  return [...names, escaped(part)];
}

/**
 * The path of `key`, relative to the storage folder: the same segments, with `%`, the characters
 * that Windows forbids and a leading dot percent-encoded. A segment of more than 255 bytes (255
 * Arabic letters are 510) becomes nested folders.
 */
export function toPath(key: string): string {
  return key.split("/").flatMap(toNames).join(sep);
}

/** The key whose path this is, or undefined when there is none: a file that is no blob. */
export function toKey(path: string): string | undefined {
  try {
    const joined = path.replaceAll(CONTINUED + sep, "").replaceAll(sep, "/");
    const key = decodeURIComponent(joined);
    return isKey(key) && toPath(key) === path ? key : undefined;
  } catch {
    return undefined;
  }
}
