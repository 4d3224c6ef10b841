/**
 * How keys look on disk. A key is a path of the same segments, so that `<uuid>/report.pdf` is found
 * where one looks for it, with differences that can be undone:
 * - `%`, the characters that Windows forbids in names and a dot at the beginning are
 *   percent-encoded. No name that starts with a dot is ever a blob's;
 * - a segment longer than 255 bytes (NAME_MAX; 255 Arabic letters are 510 bytes) becomes nested
 *   folders, each but the last ending in `%+`, which percent-encoding never produces.
 */
import { sep } from "node:path";
import { isKey } from "./keys.ts";

const NAME_MAX = 255;
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
  for (let rest = segment; rest !== ""; ) {
    let part = "";
    for (const character of rest) {
      if (Buffer.byteLength(escaped(part + character) + CONTINUED) > NAME_MAX) break;
      part += character;
    }
    rest = rest.slice(part.length);
    names.push(escaped(part) + (rest === "" ? "" : CONTINUED));
  }
  return names;
}

/** The path of `key`, relative to the storage folder. */
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
