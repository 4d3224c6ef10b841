/** Starts to read what its input holds, and tells the engine process's number. To be killed. */
import type { ChildProcess } from "node:child_process";
import { subscribe } from "node:diagnostics_channel";
import { buffer } from "node:stream/consumers";
import { extract } from "../../src/worker/extraction.ts";
import { sourceOf } from "./reader.ts";

let engine: ChildProcess | undefined;
subscribe("child_process", (message) => {
  engine = (message as { process: ChildProcess }).process;
});
const bytes = await buffer(process.stdin);
const tell = () => process.stdout.write(`${engine?.pid}\n`);
await extract(sourceOf(bytes), tell, new AbortController().signal);
