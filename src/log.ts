export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
type LogLevel = (typeof LOG_LEVELS)[number];
type Fields = Readonly<Record<string, unknown>>;

/** Writes one line an event. Callers never pass secrets: what goes in comes out as it is. */
export type Logger = Readonly<Record<LogLevel, (message: string, fields?: Fields) => void>>;

/** Name, message, code, stack, and the same of the causes, five deep. */
export function describeError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return String(error);
  const { name, message, stack, cause } = error;
  const { code } = error as { code?: unknown };
  return {
    ...{ name, message, code },
    ...(depth === 0 ? { stack } : {}),
    ...(cause === undefined || depth === 4 ? {} : { cause: describeError(cause, depth + 1) }),
  };
}

function toJson(value: unknown): string {
  return JSON.stringify(value, (_key, part) =>
    part instanceof Error ? describeError(part) : part,
  );
}

function readableLine(time: string, level: LogLevel, message: string, fields: Fields): string {
  const rest = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => {
      if (!(value instanceof Error))
        return `${key}=${typeof value === "string" ? value : toJson(value)}`;
      const cause = value.cause === undefined ? "" : `\n  caused by ${toJson(value.cause)}`;
      return `${key}=${value.stack}${cause}`;
    });
  return [time.slice(11, 23), level.padEnd(5), message, ...rest].join(" ");
}

/** Logs one level and up: a JSON object a line, or with `readable` a short form for terminals. */
export function createLogger(options: {
  level: LogLevel;
  readable: boolean;
  write: (line: string) => void;
}): Logger {
  const at = (level: LogLevel) => {
    const isSilent = LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(options.level);
    return (message: string, fields: Fields = {}) => {
      if (isSilent) return;
      const time = new Date().toISOString();
      const line = options.readable
        ? readableLine(time, level, message, fields)
        : toJson({ time, level, message, ...fields });
      options.write(`${line}\n`);
    };
  };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}
