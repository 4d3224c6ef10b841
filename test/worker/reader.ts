import type { ChildProcess } from "node:child_process";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { readFileSync } from "node:fs";
import { Readable } from "node:stream";
import type { TestContext } from "node:test";
import { createLogger } from "../../src/log.ts";
import {
  createExtractor,
  type Extraction,
  type Extractor,
  type Source,
} from "../../src/worker/extraction.ts";
import type { Limits } from "../../src/worker/limits.ts";

export const sample = (name: string): Buffer =>
  readFileSync(new URL(`../samples/${name}`, import.meta.url));

export const file = (name: string): Buffer =>
  readFileSync(new URL(`./files/${name}`, import.meta.url));

/** The bytes in pieces, as a storage gives them. */
function* pieces(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

export function sourceOf(bytes: Buffer, open = () => Readable.from(pieces(bytes))): Source {
  return { size: bytes.length, open: async () => open() };
}

export interface Reader {
  extractor: Extractor;
  read(bytes: Buffer, onPage?: (done: number, total: number) => void): Promise<Extraction>;
  /** The engine processes so far. */
  processes: ChildProcess[];
}

/** An extractor that is closed when the test ends. */
export function createReader(context: TestContext, limits: Partial<Limits> = {}): Reader {
  const log = createLogger({ level: "error", readable: true, write: () => {} });
  const extractor = createExtractor({ log, limits });
  const processes: ChildProcess[] = [];
  const onProcess = (message: unknown) => {
    processes.push((message as { process: ChildProcess }).process);
  };
  subscribe("child_process", onProcess);
  context.after(async () => {
    unsubscribe("child_process", onProcess);
    await extractor.close();
  });
  const read: Reader["read"] = (bytes, onPage = () => {}) =>
    extractor.extract(sourceOf(bytes), onPage, new AbortController().signal);
  return { extractor, read, processes };
}
