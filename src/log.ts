export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
type LogLevel = (typeof LOG_LEVELS)[number];
type Fields = Readonly<Record<string, unknown>>;

/** Writes one line an event. Callers pass no secrets. A field that is named like one is hidden. */
export type Logger = Readonly<Record<LogLevel, (message: string, fields?: Fields) => void>>;

/** What secrets are called, in snake case. The name of a blob and a public key are none. */
const SECRET = new RegExp(
  "password|passwd|passphrase|secret|token|authorization|cookie|credential|connection_?str|" +
    "(^|_)(pass|pwd|jwt|auth|api_?key|(?<!blob_|public_)keys?)(_|$)",
);

const REDACTED = "[redacted]";

/** Names come from code mostly; those of data must not fill the memory. */
const MAX_KNOWN = 1_000;
const known = new Map<string, boolean>();

function isSecret(name: string): boolean {
  const answer = known.get(name);
  if (answer !== undefined) return answer;
  const words = name.replace(/(?<=[a-z\d])(?=[A-Z])|[^A-Za-z\d]+/g, "_");
  const found = SECRET.test(words.toLowerCase());
  if (known.size < MAX_KNOWN) known.set(name, found);
  return found;
}

/** Name, message, code, stack, and the same of the causes, five deep. */
export function describeError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return String(error);
  const { name, message, stack, cause } = error;
  const { code } = error as { code?: unknown };
  return {
    name,
    message,
    code,
    ...(depth === 0 ? { stack } : {}),
    ...(cause === undefined || depth === 4 ? {} : { cause: describeError(cause, depth + 1) }),
  };
}

function toJson(value: unknown): string {
  return JSON.stringify(value, (name, part) => {
    if (isSecret(name) && part !== undefined) return REDACTED;
    return part instanceof Error ? describeError(part) : part;
  });
}

/** As `toJson` of the whole, which takes twice as long. The names are code's: none is escaped. */
function jsonLine(time: string, level: LogLevel, message: string, fields: Fields): string {
  let line = `{"time":"${time}","level":"${level}","message":${JSON.stringify(message)}`;
  for (const name in fields) {
    const value = fields[name];
    if (value === undefined) continue;
    const isPlain = typeof value === "string" || typeof value === "number";
    const part = isSecret(name) ? REDACTED : value;
    line += `,"${name}":${isPlain ? JSON.stringify(part) : toJson(part)}`;
  }
  return `${line}}`;
}

function readableLine(time: string, level: LogLevel, message: string, fields: Fields): string {
  const rest = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => {
      if (isSecret(key)) return `${key}=${REDACTED}`;
      if (!(value instanceof Error))
        return `${key}=${typeof value === "string" ? value : toJson(value)}`;
      const cause = value.cause === undefined ? "" : `\n  caused by ${toJson(value.cause)}`;
      return `${key}=${value.stack}${cause}`;
    });
  // Terminals break a line anywhere, this between two fields.
  const width = process.stdout.columns || Infinity;
  return [time.slice(11, 23), level.padEnd(5), message, ...rest].reduce((line, word) => {
    const fits = line.length - line.lastIndexOf("\n") + word.length <= width;
    return `${line}${fits ? " " : "\n  "}${word}`;
  });
}

/**
 * Logs one level and up: a JSON object a line, or with `readable` a short form for terminals. Each
 * line has the logger's own `fields` too.
 */
export function createLogger(options: {
  level: LogLevel;
  readable: boolean;
  write: (line: string) => void;
  fields?: Fields;
}): Logger {
  const at = (level: LogLevel) => {
    const isSilent = LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(options.level);
    return (message: string, more: Fields = {}) => {
      if (isSilent) return;
      const fields = options.fields ? { ...options.fields, ...more } : more;
      const toLine = options.readable ? readableLine : jsonLine;
      options.write(`${toLine(new Date().toISOString(), level, message, fields)}\n`);
    };
  };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

/**
 * Collects lines and hands them to `write` once a turn of the event loop, and the last ones when
 * the process exits.
 */
export function collectLines(write: (lines: string) => void): (line: string) => void {
  let lines = "";
  const flush = () => {
    const collected = lines;
    lines = "";
    if (collected) write(collected);
  };
  process.on("exit", flush);
  return (line) => {
    if (lines === "") setImmediate(flush);
    lines += line;
  };
}
