/** A header value of the form `value; name=parameter; name="parameter"`. */
export interface ParameterisedValue {
  /** In lower case. */
  value: string;
  /** By name, in lower case. */
  parameters: ReadonlyMap<string, string>;
}

/** Without quotes it may be more than a token: clients send names with blanks. */
const PARAMETER =
  /[ \t]*;[ \t]*(?:$|([!#$%&'*+.^_`|~\w-]+)=(?:"((?:[^"\\]|\\.)*)"[ \t]*|([^;"\s][^;"]*)))/sy;
const MEDIA_TYPE = /^[!#$%&'*+.^_`|~\w-]+\/[!#$%&'*+.^_`|~\w-]+$/;

/** Splits such a value; undefined when it is malformed or names a parameter twice. */
export function parseParameterised(text: string): ParameterisedValue | undefined {
  const [value = ""] = text.split(";", 1);
  const parameters = new Map<string, string>();
  PARAMETER.lastIndex = value.length;
  while (PARAMETER.lastIndex < text.length) {
    const match = PARAMETER.exec(text);
    if (!match) return undefined;
    const [, name, quoted, bare = ""] = match;
    // A semicolon ends the value.
    if (name === undefined) break;
    if (parameters.has(name.toLowerCase())) return undefined;
    // Only `\"` and `\\` are escapes: browsers send any other backslash as it is.
    const parameter = quoted?.replace(/\\(["\\])/g, "$1") ?? bare.trimEnd();
    parameters.set(name.toLowerCase(), parameter);
  }
  return { value: value.trim().toLowerCase(), parameters };
}

/** A media type (RFC 9110 §8.3.1), or undefined when there is no well-formed one. */
export function parseMediaType(header = ""): ParameterisedValue | undefined {
  const parsed = parseParameterised(header);
  return parsed && MEDIA_TYPE.test(parsed.value) ? parsed : undefined;
}
