import { isKey, OWN_KEY } from "./keys.ts";

const NAME_BYTES = 255;
/** Ends a folder's name whose segment goes on below it. Percent-encoding never makes it. */
const CONTINUED = "%+";
/** Stands for the slash of a server's own key. Percent-encoding never makes it either. */
const JOINED = "%~";

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
 * The same segments, with `%`, a leading dot and what Windows forbids percent-encoded. One of more
 * than 255 bytes becomes nested folders.
 */
export function toPath(key: string): string {
  return key.split("/").flatMap(toNames).join("/");
}

/**
 * Where a blob may be, new ones first: an own key's needs no folder, so that one folder is synced
 * for it. Earlier versions kept all at `toPath`.
 */
export function toPaths(key: string): [string, ...string[]] {
  const path = toPath(key);
  const joined = path.replace(OWN_KEY, `$1${JOINED}`);
  const isName = !joined.includes("/") && Buffer.byteLength(joined) <= NAME_BYTES;
  return joined !== path && isName ? [joined, path] : [path];
}

/** The key whose path this is; undefined for a file that is no blob. */
export function toKey(path: string): string | undefined {
  try {
    const key = decodeURIComponent(path.replace(JOINED, "/").replaceAll(`${CONTINUED}/`, ""));
    return isKey(key) && toPaths(key).includes(path) ? key : undefined;
  } catch {
    return undefined;
  }
}
