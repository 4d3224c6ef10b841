import type { Readable } from "node:stream";

/** What a handler answers. A stream body is destroyed by the server when it is not sent to its end. */
export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Buffer | Readable;
}

export type Headers = Readonly<Record<string, string>>;

/** A JSON answer, in UTF-8. Dates come out as RFC 3339 in UTC with a `Z`. */
export function json(value: unknown, status = 200, headers: Headers = {}): Reply {
  return {
    status,
    headers: { "Content-Type": "application/json; charset=utf-8", ...headers },
    body: JSON.stringify(value),
  };
}

/** 201 with the address of what was made (RFC 9110 §15.3.2). */
export function created(location: string, value: unknown, headers: Headers = {}): Reply {
  return json(value, 201, { Location: location, ...headers });
}

export function noContent(): Reply {
  return { status: 204, headers: {} };
}
