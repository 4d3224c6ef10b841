import assert from "node:assert/strict";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import {
  below,
  type Documented,
  description,
  type Header,
  operations,
  resolve,
} from "./document.ts";

/** What a client saw. `path` is as it was sent, with or without its query. */
export interface ObservedResponse {
  method: string;
  path: string;
  status: number;
  headers: Headers;
  body: Buffer;
}

/** Headers of the connection, of the framing, and of CORS (Fetch standard §3.2), which any answer may have. */
const OF_ANY_ANSWER =
  /^(date|connection|keep-alive|transfer-encoding|content-length|content-type|vary|access-control-.*)$/;

const ALWAYS = "x-headers-of-every-answer";

const ajv = new Ajv2020({
  allErrors: true,
  allowUnionTypes: true,
  strictTuples: false,
  // To ajv the document is a schema too, of which only parts are asked for.
  keywords: Object.keys(description),
  // Patterns say what the formats of this API mean.
  formats: { binary: true, "date-time": true, email: true, password: true },
});
ajv.addSchema({ ...description, $id: "openapi" });
const compiled = new Map<string, ValidateFunction>();

/** What is wrong with a value by the schema at a JSON pointer of `openapi.yaml`; empty when nothing is. */
export function faultsOf(schemaPointer: string, value: unknown): string[] {
  let validate = compiled.get(schemaPointer);
  if (!validate) {
    validate = ajv.compile({ $ref: `openapi#${encodeURI(schemaPointer)}` });
    compiled.set(schemaPointer, validate);
  }
  if (validate(value)) return [];
  return (validate.errors ?? []).map(
    ({ instancePath, message, params }) =>
      `${instancePath || "/"} ${message} ${JSON.stringify(params)}`,
  );
}

/** Throws when the response is not as `openapi.yaml` describes it: status, headers of ours, media type, body to its last field. */
export function assertDocumented(response: ObservedResponse): void {
  const faults = faultsOfResponse(response);
  const { method, path, status } = response;
  assert.deepEqual(faults, [], `not in openapi.yaml: ${status} ${method} ${path}`);
}

function faultsOfResponse(response: ObservedResponse): string[] {
  const { method, status, headers } = response;
  const path = response.path.replace(/[?#].*$/s, "");
  // As the router has it: the path without parameters first.
  const here = operations
    .filter((operation) => matches(operation.path, path))
    .sort((a, b) => Number(a.path.includes("{")) - Number(b.path.includes("{")));
  if (method === "OPTIONS" && status === 204)
    return here.length > 0 ? faultsOfOptions(response) : ["no such path"];
  const wanted = method === "HEAD" ? "GET" : method;
  const operation = here.find((one) => one.method === wanted);
  const pointer = documentedAt(operation?.pointer, status, here.length > 0);
  if (pointer === undefined) return [`status ${status} is not declared`];
  const allow = status === 405 && !headers.has("allow") ? ["a 405 without Allow"] : [];
  return [...allow, ...faultsOfHeaders(pointer, headers), ...faultsOfBody(pointer, response)];
}

function segments(path: string): string[] {
  return path.replace(/\/$/, "").split("/");
}

function matches(template: string, path: string): boolean {
  const expected = segments(template);
  const actual = segments(path);
  const decoded = (segment: string | undefined) => {
    try {
      return decodeURIComponent(segment ?? "");
    } catch {
      return segment;
    }
  };
  return (
    expected.length === actual.length &&
    expected.every((segment, index) =>
      segment.startsWith("{") ? actual[index] !== "" : segment === decoded(actual[index]),
    )
  );
}

/** Where the response object for a status is; what the HTTP layer refuses is described once for all. */
function documentedAt(
  operation: string | undefined,
  status: number,
  pathExists: boolean,
): string | undefined {
  if (operation !== undefined) {
    const own = below(operation, "responses", String(status));
    if (exists(own)) return resolve(own).pointer;
  }
  const refused = "/components/responses/Refused";
  const { target } = resolve<Documented>(refused);
  const unknownPath = status === 404 && !pathExists;
  return unknownPath || target["x-statuses"]?.includes(status) ? refused : undefined;
}

function exists(pointer: string): boolean {
  try {
    return resolve(pointer).target !== undefined;
  } catch {
    return false;
  }
}

function faultsOfHeaders(pointer: string, headers: Headers): string[] {
  const own = Object.keys(resolve<Documented>(pointer).target.headers ?? {});
  const names = [...own, ...Object.keys(description[ALWAYS])];
  const known = new Set(names.map((name) => name.toLowerCase()));
  const undeclared = [...headers.keys()].filter(
    (name) => !known.has(name) && !OF_ANY_ANSWER.test(name),
  );
  return [
    ...undeclared.map((name) => `header ${name} is not declared`),
    ...names.flatMap((name) => {
      const header = resolve<Header>(
        own.includes(name) ? below(pointer, "headers", name) : below("", ALWAYS, name),
      );
      const text = headers.get(name);
      if (text === null) return header.target.required ? [`header ${name} is missing`] : [];
      const value =
        header.target.schema.type === "integer" && /^\d+$/.test(text) ? Number(text) : text;
      return faultsOf(below(header.pointer, "schema"), value).map(
        (fault) => `header ${name}: ${fault}`,
      );
    }),
  ];
}

function faultsOfBody(pointer: string, { method, headers, body }: ObservedResponse): string[] {
  const { content } = resolve<Documented>(pointer).target;
  const type = headers.get("content-type");
  if (!content) return body.length > 0 || type !== null ? ["a body where none is declared"] : [];
  if (type === null) return ["no Content-Type"];
  const media = type.replace(/;.*$/s, "").trim().toLowerCase();
  const key = media in content ? media : "*/*";
  if (!(key in content)) return [`media type ${media} is not declared`];
  if (method === "HEAD") return body.length > 0 ? ["a body after HEAD"] : [];
  if (key !== "application/json") return [];
  let value: unknown;
  try {
    value = JSON.parse(body.toString("utf8"));
  } catch {
    return ["the body is not JSON"];
  }
  return faultsOf(below(pointer, "content", key, "schema"), value);
}

function faultsOfOptions({ headers, body }: ObservedResponse): string[] {
  return [
    ...(headers.has("allow") ? [] : ["an answer to OPTIONS without Allow"]),
    ...(headers.has("x-request-id") ? [] : ["header X-Request-Id is missing"]),
    ...(body.length > 0 ? ["a body with a 204"] : []),
  ];
}
