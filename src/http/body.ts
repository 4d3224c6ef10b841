import type * as v from "valibot";
import { AppError, type Issue } from "../errors.ts";
import { parseMediaType } from "./header-values.ts";
import { announcedLength, announcesBody, atMost, collect, readBody } from "./incoming.ts";
import type { Request } from "./request.ts";
import { validate } from "./validate.ts";

/** Most bytes of a JSON or form body. */
const MAX_BODY_BYTES = 64 * 1024;

/** A JSON body, checked. 415, 413 beyond 64 KiB, 422 for what is no JSON in UTF-8 or not what the schema asks for. */
export async function readJson<Schema extends v.GenericSchema>(
  request: Request,
  schema: Schema,
): Promise<v.InferOutput<Schema>> {
  const text = await readText(request, "application/json", "json_invalid");
  return validate(schema, parseJson(text), "body");
}

/** A form body (`application/x-www-form-urlencoded`), a string a field, checked. As `readJson`; a field given twice is a 422. */
export async function readForm<Schema extends v.GenericSchema>(
  request: Request,
  schema: Schema,
): Promise<v.InferOutput<Schema>> {
  const text = await readText(request, "application/x-www-form-urlencoded", "form_invalid");
  return validate(schema, uniqueValues(new URLSearchParams(text), "body"), "body");
}

/** The query's parameters, a string each, checked. One given twice is a 422, even if the schema does not know it. */
export function readQuery<Schema extends v.GenericSchema>(
  request: Request,
  schema: Schema,
): v.InferOutput<Schema> {
  return validate(schema, uniqueValues(request.query, "query"), "query");
}

/** The path's parameters, checked. */
export function readParams<Schema extends v.GenericSchema>(
  request: Request,
  schema: Schema,
): v.InferOutput<Schema> {
  return validate(schema, request.params, "path");
}

/** 400 with `detail` when there is a body of at least one byte. */
export async function refuseBody(request: Request, detail: string): Promise<void> {
  const refusal = new AppError("bad_request", detail);
  if (announcedLength(request.headers) > 0) throw refusal;
  if (!announcesBody(request.headers)) return;
  for await (const _chunk of readBody(request)) throw refusal;
}

async function readText(request: Request, mediaType: string, invalid: string): Promise<string> {
  if (!announcesBody(request.headers)) throw missingBody();
  requireMediaType(request, mediaType);
  const tooLarge = () => new AppError("content_too_large", "Request body too large");
  if (announcedLength(request.headers) > MAX_BODY_BYTES) throw tooLarge();
  const bytes = await collect(atMost(readBody(request), MAX_BODY_BYTES, tooLarge));
  if (bytes.length === 0) throw missingBody();
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw invalidBody({ type: invalid, loc: ["body"], msg: "The body is not valid UTF-8" });
  }
}

function requireMediaType({ headers }: Request, mediaType: string): void {
  const media = parseMediaType(headers["content-type"]);
  const charset = media?.parameters.get("charset")?.toLowerCase() ?? "utf-8";
  if (media?.type !== mediaType || charset !== "utf-8") {
    throw new AppError("unsupported_media_type", `The body must be ${mediaType} in UTF-8`);
  }
  requireIdentityCoding(headers["content-encoding"]);
}

/** 415 for a compressed body. */
export function requireIdentityCoding(contentEncoding: string | undefined): void {
  if (contentEncoding !== undefined && contentEncoding.trim().toLowerCase() !== "identity") {
    throw new AppError("unsupported_media_type", "The body must not have a Content-Encoding");
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw invalidBody({ type: "json_invalid", loc: ["body"], msg: "The body is not valid JSON" });
  }
}

function missingBody(): AppError {
  return invalidBody({ type: "missing", loc: ["body"], msg: "A request body is required" });
}

function invalidBody(issue: Issue): AppError {
  return new AppError("validation_failed", [issue]);
}

function uniqueValues(
  parameters: URLSearchParams,
  where: "body" | "query",
): Record<string, string> {
  const values: Record<string, string> = Object.create(null);
  const twice = new Set<string>();
  for (const [name, value] of parameters) {
    if (name in values) twice.add(name);
    else values[name] = value;
  }
  if (twice.size === 0) return values;
  throw new AppError(
    "validation_failed",
    Array.from(twice, (name) => ({
      type: "duplicate",
      loc: [where, name],
      msg: "Given more than once",
    })),
  );
}
