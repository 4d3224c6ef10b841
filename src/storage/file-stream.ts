import { read } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { Readable } from "node:stream";

const CHUNK_BYTES = 64 * 1024;

/**
 * Bytes of an open file, which it closes. Chunks given back are filled again: new ones make V8
 * collect the whole heap every few megabytes, which doubles the time of a processor.
 */
export class FileStream extends Readable {
  readonly #file: FileHandle;
  readonly #end: number;
  readonly #free: Buffer[] = [];
  #position: number;
  #isReading = false;
  #onRead: (() => void) | undefined;

  constructor(file: FileHandle, start: number, end: number) {
    super({ highWaterMark: CHUNK_BYTES });
    this.#file = file;
    this.#position = start;
    this.#end = end;
  }

  /** Takes back a chunk that nobody reads any more. */
  recycle(chunk: Buffer): void {
    if (chunk.length === CHUNK_BYTES) this.#free.push(chunk);
  }

  override _read(): void {
    const length = Math.min(CHUNK_BYTES, this.#end - this.#position);
    const known = length === CHUNK_BYTES ? this.#free.pop() : undefined;
    const buffer = known ?? Buffer.allocUnsafeSlow(length);
    this.#isReading = true;
    read(this.#file.fd, buffer, 0, length, this.#position, (error, bytes): unknown => {
      this.#isReading = false;
      if (this.destroyed) return this.#onRead?.();
      if (error) return this.destroy(error);
      this.#position += bytes;
      return this.push(bytes === 0 ? null : buffer.subarray(0, bytes));
    });
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const close = () => void this.#file.close().then(() => callback(error), callback);
    // Else another file may have the descriptor by the time it is read.
    if (this.#isReading) this.#onRead = close;
    else close();
  }
}
