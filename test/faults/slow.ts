import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import { within } from "../../src/errors.ts";
import { type Answer, multipartBody, open } from "../support/client.ts";
import type { Upload } from "./ledger.ts";
import type { Rig } from "./rig.ts";

const LIMIT = 120_000;

export interface SlowUpload {
  noted: Upload;
  request: ClientRequest;
  answer: Promise<Answer>;
  /** Sends what is missing, and notes what the server said. */
  finish(): Promise<Answer>;
}

/** An upload that the server has let begin, of which half has been sent. */
export async function beginUpload(
  rig: Rig,
  token: string,
  data: Buffer,
  name = rig.ledger.newName(),
): Promise<SlowUpload> {
  const noted = rig.ledger.begin(name, data, 1);
  const { type, body } = multipartBody([
    { name: "full_path", value: "/" },
    { name: "file", filename: noted.filename, data },
  ]);
  assert.ok(rig.server);
  const { request, answer } = open(rig.server.url, "POST", "/api/v1/docs/upload", {
    Authorization: `Bearer ${token}`,
    "Content-Type": type,
    "Content-Length": String(body.length),
    Expect: "100-continue",
  });
  request.on("error", () => {});
  request.flushHeaders();
  const begun = Promise.race([once(request, "continue"), answer]);
  await within(begun, LIMIT, "The server did not ask for the body");
  const half = Math.floor(body.length / 2);
  await new Promise((resolve) => request.write(body.subarray(0, half), resolve));
  return {
    noted,
    request,
    answer,
    async finish() {
      request.end(body.subarray(half));
      const got = await within(answer, LIMIT, "No answer to the upload");
      note(noted, got);
      return got;
    },
  };
}

/** Takes an answer to an upload into the record. */
export function note(noted: Upload, { status, body }: Answer): void {
  noted.stored = status === 201 ? "yes" : status === 503 ? "unknown" : "no";
  if (status === 201) Object.assign(noted, { docId: body.doc_id, url: body.path });
}

/** A download whose headers have come, and none of whose bytes is read yet. */
export async function beginDownload(rig: Rig, token: string, docId: number | undefined) {
  assert.ok(rig.server);
  const request = httpRequest(`${rig.server.url}/api/v1/docs/${docId}/download`, {
    headers: { Authorization: `Bearer ${token}` },
    agent: false,
  });
  request.on("error", () => {}).end();
  const [response] = await within(
    once(request, "response") as Promise<[IncomingMessage]>,
    LIMIT,
    "The download did not begin",
  );
  assert.equal(response.statusCode, 200);
  return response;
}
