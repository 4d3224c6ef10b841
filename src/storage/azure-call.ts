import { Readable } from "node:stream";
import type { RestError } from "@azure/storage-blob";
import { TimedOut, unavailable, within } from "../errors.ts";
import { BlobNotFound, rangeNotSatisfiable } from "./storage.ts";

/** Milliseconds for a call. Sent twice, what swallows packets is known as down in 20 s. */
const CALL_TIMEOUT = 10_000;

/** Milliseconds without a byte before a download that its reader waits for fails. */
const READ_TIMEOUT = 30_000;

/**
 * What callers may see and log of an error of the SDK: `BlobNotFound` for 404,
 * `range_not_satisfiable` for 416, else `unavailable`. The SDK's own error holds the request with
 * its signature, and a SAS is part of the URL, so a new error is made: no link to the old one, and
 * nothing after a `?` of its message.
 */
function toFailure(error: unknown): Error {
  if (error instanceof TimedOut) return unavailable("The document storage", error);
  const { message, name, code, statusCode, response } = error as RestError;
  const cause = Object.assign(new Error(message.split("\n", 1)[0]?.replace(/\?\S*/g, "")), {
    // Answers to HEAD have no body; the header has the code always.
    code: response?.headers.get("x-ms-error-code") ?? code ?? name,
    status: statusCode,
    requestId: response?.headers.get("x-ms-request-id"),
  });
  if (statusCode === 404) return new BlobNotFound("No blob has this key", { cause });
  if (statusCode === 416) return rangeNotSatisfiable(cause);
  return unavailable("The document storage", cause);
}

/**
 * Runs one call of the SDK, which must be safe to repeat, within a time limit in milliseconds, and
 * once more when that runs out. Aborting `cancel` gives the call up; its reason is thrown.
 */
export async function call<Result>(
  work: (signal: AbortSignal) => Promise<Result>,
  options: { timeout?: number; cancel?: AbortSignal } = {},
  attempts = 2,
): Promise<Result> {
  const { timeout = CALL_TIMEOUT, cancel } = options;
  const limit = new AbortController();
  const signal = cancel ? AbortSignal.any([limit.signal, cancel]) : limit.signal;
  try {
    return await within(work(signal), timeout, "The storage did not answer");
  } catch (error) {
    limit.abort();
    cancel?.throwIfAborted();
    if (!(error instanceof TimedOut) || attempts === 1) throw toFailure(error);
    return call(work, options, attempts - 1);
  }
}

/**
 * The bytes of `source`, a download: it fails when a chunk that is asked for does not come in time,
 * and with the errors of `toFailure`. Destroying the result destroys the source at once.
 */
export function guarded(source: Readable): Readable {
  const chunks: AsyncIterator<Buffer> = source[Symbol.asyncIterator]();
  return new Readable({
    read() {
      within(chunks.next(), READ_TIMEOUT, "The storage sent nothing").then(
        (next) => this.push(next.done ? null : next.value),
        (error: unknown) => this.destroy(toFailure(error)),
      );
    },
    destroy(error, done) {
      source.destroy();
      done(error);
    },
  });
}
