/**
 * How keys look on disk. A key is a path of the same segments, so that `<uuid>/report.pdf` is found where one looks for it,
 * with three differences, which make any key possible on any file system and can be undone:
 * - `%`, the characters that Windows forbids in names and a dot at the beginning are percent-encoded. No name that
 *   starts with a dot is ever a blob's;
 * - a segment longer than 255 bytes (NAME_MAX; 255 Arabic letters are 510 bytes) becomes nested directories, each but
 *   the last ending in `%+`, which percent-encoding never produces;
 * - names in a folder that no key has (an operator's own files) are not blobs.
 */
import { sep } from "node:path";
import { isKey } from "./keys.ts";

const NAME_MAX = 255;
const CONTINUED = "%+";

function escaped(character: string, first: boolean): string {
  const forbidden = '%\\:*?"<>|'.includes(character) || (first && character === ".");
  return forbidden
    ? `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`
    : character;
}

function toNames(segment: string): string[] {
  const whole = Array.from(segment, (character, index) => escaped(character, index === 0)).join("");
  if (Buffer.byteLength(whole) <= NAME_MAX) return [whole];
  const names: string[] = [];
  let name = "";
  for (const character of segment) {
    const text = escaped(character, name === "");
    if (Buffer.byteLength(name + text) > NAME_MAX - CONTINUED.length) {
      names.push(name + CONTINUED);
      name = escaped(character, true);
    } else {
      name += text;
    }
  }
  return [...names, name];
}

/** The path of `key`, relative to the storage folder. */
export function toPath(key: string): string {
  return key.split("/").flatMap(toNames).join(sep);
}

/** The key whose path this is, or undefined when there is none. */
export function toKey(path: string): string | undefined {
  let key = "";
  for (const name of path.split(sep)) {
    const continued = name.endsWith(CONTINUED);
    try {
      key += decodeURIComponent(continued ? name.slice(0, -CONTINUED.length) : name);
    } catch {
      return undefined;
    }
    if (!continued) key += "/";
  }
  key = key.slice(0, -1);
  return isKey(key) && toPath(key) === path ? key : undefined;
}
