import { finished, type Readable } from "node:stream";
import { AppError } from "../errors.ts";
import type { ByteRange } from "./storage.ts";

/**
 * Runs `work`, which reads `stream` to its end. When the stream fails or is destroyed first, the signal is aborted with its
 * error; when `work` fails, the stream is destroyed. Errors of the stream are heard from the first moment, so that none
 * goes unhandled while `work` is still preparing.
 */
export async function consume<Result>(
  stream: Readable,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const controller = new AbortController();
  finished(stream, { writable: false }, (error) => {
    if (error) controller.abort(error);
  });
  try {
    return await work(controller.signal);
  } catch (error) {
    stream.destroy();
    throw error;
  }
}

/** Throws a RangeError for a range that makes no sense, and `range_not_satisfiable` for one that starts past the end. */
export function checkRange(range: ByteRange, size?: number): void {
  const { start, end } = range;
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || end < start) {
    throw new RangeError("A byte range needs 0 <= start <= end");
  }
  if (size !== undefined && start >= size) throw rangeNotSatisfiable();
}

export function rangeNotSatisfiable(cause?: unknown): AppError {
  return new AppError("range_not_satisfiable", "The requested range starts after the end.", {
    cause,
  });
}
