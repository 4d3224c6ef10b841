import { Readable } from "node:stream";
import { toFailure } from "./azure-call.ts";

/**
 * The bytes of `source`, each chunk of which must come within `milliseconds` of being asked for. Failures become `toFailure`'s;
 * destroying the result destroys the source at once.
 */
export function withoutStalls(source: Readable, milliseconds: number): Readable {
  const chunks: AsyncIterator<Buffer> = source[Symbol.asyncIterator]();
  return new Readable({
    read() {
      const timer = setTimeout(() => {
        source.destroy(new Error(`Nothing arrived for ${milliseconds} ms`));
      }, milliseconds);
      chunks
        .next()
        .finally(() => clearTimeout(timer))
        .then(
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
