import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import { type MultipartOptions, readMultipart } from "../../src/http/multipart.ts";
import { json } from "../../src/http/replies.ts";
import { startServer } from "./harness.ts";

export const MEGABYTE = 1024 * 1024;
export const LIMIT = MEGABYTE;
export const sha256 = (bytes: string | Uint8Array) =>
  createHash("sha256").update(bytes).digest("hex");

export async function consume(stream: Readable) {
  const hash = createHash("sha256");
  let size = 0;
  for await (const chunk of stream) {
    hash.update(chunk);
    size += chunk.length;
  }
  return { size, sha256: hash.digest("hex") };
}

type Fields = Readonly<Record<string, string>>;

export interface Taken {
  name: string;
  contentType: string;
  before: Record<string, string>;
  size: number;
  sha256: string;
}

/** A server with one upload route; `ends` tells how each `onFile` ended. */
export async function uploads(
  t: Parameters<typeof startServer>[0],
  options: Partial<MultipartOptions<Fields, Taken>> = {},
  idle = 30_000,
) {
  const ends: unknown[] = [];
  let opened = 0;
  const onFile: MultipartOptions<Fields, Taken>["onFile"] = async (
    { name, contentType, stream },
    before,
  ) => {
    opened += 1;
    try {
      const taken = { name, contentType, before, ...(await consume(stream)) };
      ends.push("whole");
      return taken;
    } catch (error) {
      ends.push(error);
      throw new Error("storage failed", { cause: error });
    }
  };
  const server = await startServer(
    t,
    [
      {
        method: "POST",
        path: "/",
        level: "public",
        handler: async (request) =>
          json(
            await readMultipart(request, {
              fileField: "file",
              textFields: ["description", "full_path"],
              maxFileBytes: LIMIT,
              tooLarge: "File too large",
              parseFields: (fields) => fields,
              onFile,
              ...options,
            }),
          ),
      },
    ],
    // The limit for whole bodies is not for uploads.
    { bodyIdleTimeoutMs: idle, bodyTimeoutMs: 50 },
  );
  return { ...server, ends, opened: () => opened };
}

export interface Answer {
  status: number;
  file?: Taken;
  fields?: Record<string, string>;
  detail?: string | { type: string; loc: unknown[]; msg: string }[];
}

export async function send(
  server: { url: string },
  body: FormData | Buffer,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const answer = await fetch(server.url, { method: "POST", body, headers });
  return { status: answer.status, ...((await answer.json()) as object) };
}

export const part = (headers: string | Buffer, content: string | Buffer) =>
  Buffer.concat(
    ["--b\r\n", headers, "\r\n\r\n", content, "\r\n"].map((piece) => Buffer.from(piece as string)),
  );
export const filePart = (
  content: string | Buffer = "abc",
  disposition = 'name="file"; filename="a.txt"',
  more = "",
) => part(`Content-Disposition: form-data; ${disposition}${more}`, content);
export const textPart = (name: string, content: string | Buffer) =>
  part(`Content-Disposition: form-data; name="${name}"`, content);
export const form = (...parts: Buffer[]) => Buffer.concat([...parts, Buffer.from("--b--\r\n")]);
export const TYPE = { "Content-Type": "multipart/form-data; boundary=b" };
export const first = ({ detail }: Answer) =>
  Array.isArray(detail) ? [detail[0]?.type, ...(detail[0]?.loc ?? [])] : detail;
