import { AppError } from "../errors.ts";
import { announcedLength, announcesBody, parseMediaType } from "./headers.ts";
import { readBody, readUtf8 } from "./incoming.ts";
import type { Request } from "./request.ts";
import { invalid, type Schema, validate } from "./validate.ts";

const MAX_BODY_BYTES = 64 * 1024;

/** A JSON body. 408, 413 beyond 64 KiB, 415, 422 for what the schema does not take. */
export async function readJson<T>(request: Request, schema: Schema<T>): Promise<T> {
  const text = await readText(request, "application/json", "json_invalid");
  return validate(schema, parseJson(text), "body");
}

/** A form body, a string a field. As `readJson`; a field given twice is a 422. */
export async function readForm<T>(request: Request, schema: Schema<T>): Promise<T> {
  const text = await readText(request, "application/x-www-form-urlencoded", "form_invalid");
  return validate(schema, uniqueValues(new URLSearchParams(text), "body"), "body");
}

/** The query. A parameter given twice is a 422. */
export function readQuery<T>(request: Request, schema: Schema<T>): T {
  return validate(schema, uniqueValues(new URLSearchParams(request.search), "query"), "query");
}

export function readParams<T>(request: Request, schema: Schema<T>): T {
  return validate(schema, request.params, "path");
}

/** 400 with `detail` when there is a body of at least one byte. */
export async function refuseBody(request: Request, detail: string): Promise<void> {
  const refusal = new AppError("bad_request", detail);
  if (announcedLength(request.headers) > 0) throw refusal;
  for await (const _chunk of readSmallBody(request)) throw refusal;
}

/** The parameters of the type. 415 for another one, another charset or a compressed body. */
export function requireMediaType({ headers }: Request, type: string): ReadonlyMap<string, string> {
  const refusal = (detail: string) => new AppError("unsupported_media_type", detail);
  const coding = headers["content-encoding"] ?? "identity";
  if (!/^\s*identity\s*$/i.test(coding)) throw refusal("The body must not have a Content-Encoding");
  const media = parseMediaType(headers["content-type"]);
  const charset = media?.parameters.get("charset") ?? "utf-8";
  if (media?.value === type && /^utf-8$/i.test(charset)) return media.parameters;
  throw refusal(`The body must be ${type} in UTF-8`);
}

const readSmallBody = (request: Request) =>
  readBody(request, { totalMs: request.timeouts.bodyTimeoutMs });

async function readText(request: Request, type: string, fault: string): Promise<string> {
  const missing = () => invalid("missing", ["body"], "A request body is required");
  if (!announcesBody(request.headers)) throw missing();
  requireMediaType(request, type);
  const tooLarge = () => new AppError("content_too_large", "Request body too large");
  if (announcedLength(request.headers) > MAX_BODY_BYTES) throw tooLarge();
  const text = await readUtf8(readSmallBody(request), MAX_BODY_BYTES, tooLarge);
  if (text === "") throw missing();
  if (text === undefined) throw invalid(fault, ["body"], "The body is not valid UTF-8");
  return text;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text.replace(/^\ufeff/, ""));
  } catch {
    throw invalid("json_invalid", ["body"], "The body is not valid JSON");
  }
}

function uniqueValues(parameters: URLSearchParams, where: string): Record<string, string> {
  const values: Record<string, string> = Object.create(null);
  for (const [name, value] of parameters) {
    if (name in values) throw invalid("duplicate", [where, name], "Given more than once");
    values[name] = value;
  }
  return values;
}
