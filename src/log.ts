export const LEVELS = ["debug", "info", "warn", "error"] as const;
export type Level = (typeof LEVELS)[number];
export type Fields = Readonly<Record<string, unknown>>;

/** Writes one line an event. Callers never pass secrets: what goes in comes out as it is. */
export interface Logger {
  debug(message: string, fields?: Fields): void;
  info(message: string, fields?: Fields): void;
  warn(message: string, fields?: Fields): void;
  error(message: string, fields?: Fields): void;
}

/** The parts of an error that help an operator: name, message, code, stack and the same of its causes, five deep. */
export function describeError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return String(error);
  const code = (error as { code?: unknown }).code;
  return {
    name: error.name,
    message: error.message,
    ...(code === undefined ? {} : { code }),
    ...(depth === 0 ? { stack: error.stack } : {}),
    ...(error.cause === undefined || depth === 4
      ? {}
      : { cause: describeError(error.cause, depth + 1) }),
  };
}

function jsonLine(time: Date, level: Level, message: string, fields: Fields): string {
  const safe = Object.fromEntries(
    Object.entries(fields).map(([key, value]) => [
      key,
      value instanceof Error ? describeError(value) : value,
    ]),
  );
  return JSON.stringify({ time: time.toISOString(), level, message, ...safe });
}

function withCauses(error: Error, depth = 0): string {
  const own = depth === 0 ? (error.stack ?? error.message) : `${error.name}: ${error.message}`;
  const { cause } = error;
  return cause instanceof Error && depth < 4
    ? `${own}\n  caused by ${withCauses(cause, depth + 1)}`
    : own;
}

function readableLine(time: Date, level: Level, message: string, fields: Fields): string {
  const rest = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => {
      if (value instanceof Error) return `${key}=${withCauses(value)}`;
      return `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`;
    });
  return [time.toISOString().slice(11, 23), level.padEnd(5), message, ...rest].join(" ");
}

/** A logger for one level and up. `readable` is the short form for a terminal, else one JSON object a line. */
export function createLogger(options: {
  level: Level;
  readable: boolean;
  write: (line: string) => void;
}): Logger {
  const format = options.readable ? readableLine : jsonLine;
  const at = (level: Level) => {
    const silent = LEVELS.indexOf(level) < LEVELS.indexOf(options.level);
    return (message: string, fields: Fields = {}) => {
      if (!silent) options.write(`${format(new Date(), level, message, fields)}\n`);
    };
  };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}
