import type { ChildProcess } from "node:child_process";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { readFileSync } from "node:fs";
import { Readable } from "node:stream";
import type { TestContext } from "node:test";
import { type Extraction, extract, type Source } from "../../src/worker/extraction.ts";
import { LIMITS, type Limits } from "../../src/worker/limits.ts";

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
  read(bytes: Buffer, onPage?: (done: number, total: number) => void): Promise<Extraction>;
  /** The engine processes so far. */
  processes: ChildProcess[];
}

/** Reads under limits of its own, in processes that the test can see. */
export function createReader(context: TestContext, limits: Partial<Limits> = {}): Reader {
  const processes: ChildProcess[] = [];
  const onProcess = (message: unknown) => {
    processes.push((message as { process: ChildProcess }).process);
  };
  subscribe("child_process", onProcess);
  context.after(() => {
    unsubscribe("child_process", onProcess);
    for (const process of processes) process.kill("SIGKILL");
  });
  const { signal } = new AbortController();
  const read: Reader["read"] = (bytes, onPage = () => {}) =>
    extract(sourceOf(bytes), onPage, signal, { ...LIMITS, ...limits });
  return { read, processes };
}
