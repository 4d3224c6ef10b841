import { AppError, TimedOut, unavailable, within } from "../errors.ts";
import { BlobNotFound } from "./storage.ts";
import { rangeNotSatisfiable } from "./streaming.ts";

/** Milliseconds for any other call with its retries, so that a service that swallows packets is known as down soon. */
export const CALL_TIMEOUT = 15_000;

/** Statuses that say nothing about the request itself: no access at the moment, time-out, throttling. 5xx belong to them. */
const PASSING_STATUSES: readonly number[] = [401, 403, 408, 429];

/** What the SDK's `RestError` tells; the properties are undefined when the service did not answer. */
interface RestErrorLike {
  statusCode?: number;
  code?: string;
  response?: { headers: { get(name: string): string | undefined } };
}

/** The HTTP status that the service answered with; undefined when it did not answer. */
export function statusOf(error: unknown): number | undefined {
  return (error as RestErrorLike | null)?.statusCode;
}

/**
 * What callers may see and log of an error of the SDK: `BlobNotFound` for 404, `range_not_satisfiable` for 416, `unavailable` for
 * what may pass. The SDK's own error holds the request with its signature, and a SAS is part of the URL, so a new error
 * is made: no link to the old one, and nothing after a `?` of its message.
 */
export function toFailure(error: unknown): Error {
  if (error instanceof TimedOut) return unavailable("The document storage", error);
  const { message, name } = error instanceof Error ? error : new Error(String(error));
  const { statusCode: status, code, response } = error as RestErrorLike;
  const line = message.split("\n", 1)[0]?.replace(/\?\S*/g, "") || `Status ${status}`;
  const reason = Object.assign(new Error(line), {
    // Answers to HEAD have no body; the header has the code always.
    code: response?.headers.get("x-ms-error-code") ?? code ?? name,
    status,
    requestId: response?.headers.get("x-ms-request-id"),
  });
  if (status === 404) return new BlobNotFound("No blob has this key", { cause: reason });
  if (status === 416) return rangeNotSatisfiable(reason);
  const passing = status === undefined || status >= 500 || PASSING_STATUSES.includes(status);
  return passing ? unavailable("The document storage", reason) : reason;
}

/** Runs one call of the SDK within a time limit; it is given up when `cancel` is aborted, whose reason is then thrown. */
export async function call<Result>(
  milliseconds: number,
  work: (signal: AbortSignal) => Promise<Result>,
  cancel?: AbortSignal,
): Promise<Result> {
  const limit = new AbortController();
  const signal = cancel ? AbortSignal.any([limit.signal, cancel]) : limit.signal;
  try {
    return await within(work(signal), milliseconds, "The storage did not answer");
  } catch (error) {
    limit.abort();
    if (cancel?.aborted) throw cancel.reason;
    throw toFailure(error);
  }
}

/** How often one call of a bulk operation is sent when its answer does not come in time. */
const ATTEMPTS = 3;

/** Runs a call of a bulk operation, which must be safe to repeat, again when its time ran out. */
export async function repeatedly<Result>(run: () => Promise<Result>): Promise<Result> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await run();
    } catch (error) {
      const late = error instanceof AppError && error.cause instanceof TimedOut;
      if (!late || attempt === ATTEMPTS) throw error;
    }
  }
}
