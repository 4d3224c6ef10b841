import { AppError } from "../errors.ts";
import { ClientGone, type Request } from "./request.ts";

/** Whether the request announces a body; a chunked one may still turn out empty. */
export function announcesBody({ headers }: Request): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

/** The announced length in bytes; undefined when the body is chunked. */
export function announcedLength({ headers }: Request): number | undefined {
  if (headers["transfer-encoding"] !== undefined) return undefined;
  return Number(headers["content-length"] ?? 0);
}

/**
 * Reads the body to its end, chunk by chunk; where `onChunk` returns a promise, reading waits for it. Rejects with what `onChunk` throws,
 * with the reason of `stop`, with `ClientGone`, or with 408 when nothing arrives for the idle time; the rest of the body stays unread.
 */
export function readChunks(
  request: Request,
  onChunk: (chunk: Buffer) => Promise<void> | void,
  stop?: AbortSignal,
): Promise<void> {
  const { raw } = request;
  return new Promise((resolve, reject) => {
    if (raw.readableEnded) throw new Error("The body was read already");
    let idle: NodeJS.Timeout | undefined;
    let settled = false;
    const finish = (settle: () => void) => {
      settled = true;
      clearTimeout(idle);
      raw.off("data", onData).off("end", onEnd).off("close", onClose);
      stop?.removeEventListener("abort", onStop);
      raw.pause();
      settle();
    };
    const fail = (error: unknown) => {
      if (!settled) finish(() => reject(error));
    };
    const onStop = () => fail(stop?.reason);
    const onEnd = () => finish(resolve);
    const onClose = () => fail(new ClientGone());
    const onIdle = () =>
      fail(new AppError("request_timeout", "The request body did not arrive in time"));
    const waitForMore = () => {
      if (settled) return;
      clearTimeout(idle);
      idle = setTimeout(onIdle, request.bodyIdleTimeoutMs);
      raw.resume();
    };
    const onData = (chunk: Buffer) => {
      try {
        const busy = onChunk(chunk);
        if (busy === undefined) return waitForMore();
        // No client stalls while it is the server that does not read.
        raw.pause();
        clearTimeout(idle);
        busy.then(waitForMore, fail);
      } catch (error) {
        fail(error);
      }
    };
    if (stop?.aborted) return onStop();
    if (raw.destroyed) return onClose();
    stop?.addEventListener("abort", onStop);
    raw.on("data", onData).on("end", onEnd).on("close", onClose);
    request.sendContinue();
    waitForMore();
  });
}
