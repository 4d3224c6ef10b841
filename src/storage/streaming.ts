import { finished, type Readable } from "node:stream";

/**
 * Runs `work`, which reads `stream`. A stream that fails or is destroyed aborts the signal with its
 * error; when `work` fails, the stream is destroyed.
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
