/** A header value of the form `value; name=parameter; name="parameter"`. Names are in lower case. */
export interface ParameterisedValue {
  value: string;
  parameters: readonly (readonly [name: string, value: string])[];
}

const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const BARE = /[^;"\s][^;"]*/y;
const QUOTED = /"((?:[^"\\]|\\.)*)"/sy;
const MEDIA_TYPE = /^[!#$%&'*+.^_`|~0-9a-z-]+\/[!#$%&'*+.^_`|~0-9a-z-]+$/;

/**
 * Splits such a value, or undefined when it is malformed or names a parameter twice. Parameters without quotes may be more than a
 * token (clients send names with blanks). In quotes only `\"` and `\\` are escapes: browsers send any other backslash as it is.
 */
export function parseParameterised(text: string): ParameterisedValue | undefined {
  const end = text.indexOf(";");
  const value = (end < 0 ? text : text.slice(0, end)).trim().toLowerCase();
  const parameters: [string, string][] = [];
  let position = end < 0 ? text.length : end;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = position;
    const match = pattern.exec(text);
    if (match) position = pattern.lastIndex;
    return match;
  };
  while (position < text.length) {
    if (!take(/[ \t]*;[ \t]*/y)) return undefined;
    if (position === text.length) break;
    const name = take(TOKEN)?.[0].toLowerCase();
    if (name === undefined || !take(/=/y)) return undefined;
    const quoted = take(QUOTED);
    const parameter = quoted ? quoted[1]?.replace(/\\(["\\])/g, "$1") : take(BARE)?.[0].trimEnd();
    if (parameter === undefined || parameters.some(([taken]) => taken === name)) return undefined;
    parameters.push([name, parameter]);
    take(/[ \t]*$/y);
  }
  return { value, parameters };
}

/** A media type (RFC 9110 §8.3.1) in lower case and its parameters, or undefined when there is no well-formed one. */
export function parseMediaType(
  header: string | undefined,
): { type: string; parameters: ReadonlyMap<string, string> } | undefined {
  const parsed = header === undefined ? undefined : parseParameterised(header);
  if (!parsed || !MEDIA_TYPE.test(parsed.value)) return undefined;
  return { type: parsed.value, parameters: new Map(parsed.parameters) };
}
