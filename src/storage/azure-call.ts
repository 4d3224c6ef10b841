import { finished, Readable } from "node:stream";
import type { RestError } from "@azure/storage-blob";
import { TimedOut, unavailable, within } from "../errors.ts";
import { BlobExists, BlobNotFound } from "./storage.ts";

const CALL_TIMEOUT_MS = 10_000;
const READ_TIMEOUT_MS = 30_000;

/** The port's error. The SDK's holds the request with its signature, and may quote a SAS. */
function toFailure(error: unknown): Error {
  if (error instanceof TimedOut) return unavailable("The document storage", error);
  const { message, name, code, statusCode: status, response } = error as RestError;
  const cause = Object.assign(new Error(message.split("\n", 1)[0]?.replace(/\?\S*/g, "")), {
    // Answers to HEAD have no body, but this header.
    code: response?.headers.get("x-ms-error-code") ?? code ?? name,
    status,
  });
  if (cause.code === "BlobAlreadyExists")
    return new BlobExists("A blob with this key exists", { cause });
  if (status === 404) return new BlobNotFound("No blob has this key", { cause });
  return unavailable("The document storage", cause);
}

/** Runs one call, safe to repeat, and again when its time runs out. Throws `cancel`'s reason. */
export async function call<Result>(
  work: (signal: AbortSignal) => Promise<Result>,
  timeoutMs = CALL_TIMEOUT_MS,
  cancel?: AbortSignal,
): Promise<Result> {
  for (let attempt = 1; ; attempt++) {
    cancel?.throwIfAborted();
    const limit = new AbortController();
    // Not AbortSignal.any: Node keeps such a signal, with all that listens, until it is aborted.
    const stop = () => limit.abort();
    cancel?.addEventListener("abort", stop);
    try {
      return await within(work(limit.signal), timeoutMs, "The storage did not answer");
    } catch (error) {
      stop();
      cancel?.throwIfAborted();
      if (!(error instanceof TimedOut) || attempt === 2) throw toFailure(error);
    } finally {
      cancel?.removeEventListener("abort", stop);
    }
  }
}

/** Runs `work` with a signal that is aborted with the error of `stream`, should that fail. */
export async function whileOpen<Result>(
  stream: Readable,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const failing = new AbortController();
  finished(stream, { writable: false }, (error) => {
    if (error) failing.abort(error);
  });
  return work(failing.signal);
}

/** The bytes of a download, with its failures and time limit as above. */
export function guarded(source: Readable): Readable {
  const chunks: AsyncIterator<Buffer> = source[Symbol.asyncIterator]();
  return new Readable({
    read() {
      within(chunks.next(), READ_TIMEOUT_MS, "The storage sent nothing").then(
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
