/** Every way a request can fail, with its HTTP status (RFC 9110 §15, RFC 6585, RFC 4918 §11.5). */
export const STATUS = {
  bad_request: 400,
  not_authenticated: 401,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  request_timeout: 408,
  conflict: 409,
  content_too_large: 413,
  unsupported_media_type: 415,
  range_not_satisfiable: 416,
  validation_failed: 422,
  too_many_requests: 429,
  header_fields_too_large: 431,
  internal: 500,
  not_implemented: 501,
  unavailable: 503,
  insufficient_storage: 507,
} as const satisfies Record<string, number>;

export type Code = keyof typeof STATUS;

/** A fault in the input. `loc[0]` is `body`, `query` or `path`; `msg` never repeats the value. */
export interface Issue {
  type: string;
  loc: (string | number)[];
  msg: string;
}

/** An expected failure. `detail` and `headers` go to the client as they are, `cause` to the log. */
export class AppError extends Error {
  override readonly name = "AppError";
  readonly code: Code;
  readonly detail: string | Issue[];
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    code: Code,
    detail: string | Issue[],
    options: { cause?: unknown; headers?: Record<string, string> } = {},
  ) {
    const { cause, headers = {} } = options;
    const message = typeof detail === "string" ? detail : detail.map(({ msg }) => msg).join("; ");
    super(message, { cause });
    this.code = code;
    this.detail = detail;
    this.headers = headers;
  }
}

export class TimedOut extends Error {
  override readonly name = "TimedOut";
}

/** `promise`, or after `milliseconds` a `TimedOut` that says `what` did not happen. */
export function within<Result>(promise: Promise<Result>, milliseconds: number, what: string) {
  return new Promise<Result>((resolve, reject) => {
    const giveUp = () => reject(new TimedOut(`${what} within ${milliseconds} ms`));
    const timer = setTimeout(giveUp, milliseconds);
    promise.finally(() => clearTimeout(timer)).then(resolve, reject);
  });
}

/** 503 with `Retry-After`: `what` is public ("The database"), `cause` is not. */
export function unavailable(what: string, cause?: unknown, retryAfterSeconds = 5): AppError {
  const detail = `${what} is not available at the moment. Please try again.`;
  const headers = { "Retry-After": String(retryAfterSeconds) };
  return new AppError("unavailable", detail, { cause, headers });
}
