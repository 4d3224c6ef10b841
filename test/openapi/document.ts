import { readFileSync } from "node:fs";
import { parse } from "yaml";

export interface Header {
  required?: boolean;
  schema: { type: string };
  example: unknown;
}

interface MediaType {
  schema: unknown;
  example?: unknown;
  examples?: Record<string, { value: unknown }>;
}

export interface Documented {
  description: string;
  headers?: Record<string, unknown>;
  content?: Record<string, MediaType>;
  "x-statuses"?: number[];
}

export interface Parameter {
  name: string;
  in: "path" | "query" | "header";
  required?: boolean;
  description: string;
  schema: { type?: string; default?: unknown };
  example?: unknown;
}

interface OperationObject {
  operationId: string;
  "x-access-level": string;
  security?: unknown[];
  parameters?: unknown[];
  requestBody?: { content: Record<string, MediaType> };
  responses: Record<string, unknown>;
}

/** An operation with where it stands in the document. */
export interface Operation extends OperationObject {
  method: string;
  path: string;
  /** JSON pointer. */
  pointer: string;
}

/** The parsed `openapi.yaml`. */
export const description = parse(
  readFileSync(new URL("../../openapi.yaml", import.meta.url), "utf8"),
) as Record<string, never> & {
  info: { version: string };
  security: unknown[];
  "x-headers-of-every-answer": Record<string, Header>;
  paths: Record<string, Record<string, never>>;
};

const METHODS = ["get", "post", "put", "patch", "delete"];

const escapePointer = (key: string) => key.replaceAll("~", "~0").replaceAll("/", "~1");

/** What is behind a JSON pointer into the document. */
function at(pointer: string): unknown {
  const keys = pointer.split("/").slice(1);
  return keys.reduce<unknown>(
    (node, key) =>
      (node as Record<string, unknown>)[key.replaceAll("~1", "/").replaceAll("~0", "~")],
    description,
  );
}

/** The object itself and its pointer, also when only a reference stands there. */
export function resolve<Target>(pointer: string): { target: Target; pointer: string } {
  const target = at(pointer);
  const reference = (target as { $ref?: string }).$ref;
  return reference === undefined
    ? { target: target as Target, pointer }
    : resolve<Target>(reference.slice(1));
}

/** The pointer of what stands under `keys` at `pointer`. */
export function below(pointer: string, ...keys: string[]): string {
  return [pointer, ...keys.map(escapePointer)].join("/");
}

export const operations: Operation[] = Object.entries(description.paths).flatMap(([path, item]) =>
  METHODS.filter((method) => method in item).map((method) => ({
    ...(item[method] as unknown as OperationObject),
    method: method.toUpperCase(),
    path,
    pointer: below("", "paths", path, method),
  })),
);

/** The parameters of an operation, those of its path included. */
export function parametersOf({ path, pointer, parameters = [] }: Operation): Parameter[] {
  const shared = (description.paths[path]?.parameters ?? []) as unknown[];
  const pathPointer = below("", "paths", path);
  return [
    ...shared.map((_, index) => below(pathPointer, "parameters", String(index))),
    ...parameters.map((_, index) => below(pointer, "parameters", String(index))),
  ].map((parameter) => resolve<Parameter>(parameter).target);
}

/** A value to send. An optional parameter has it in its text: pages would fill in an `example`. */
export function exampleOf({ example, description, schema }: Parameter): unknown {
  if (example !== undefined) return example;
  const told = /for example `([^`]+)`/.exec(description)?.[1];
  return told ?? (schema.type === "boolean" ? true : schema.default);
}

/** The examples of a media type by name; a single one has none. */
export function examplesOf({
  example,
  examples = {},
}: MediaType): [name: string, value: unknown][] {
  const named = Object.entries(examples).map(
    ([name, { value }]) => [name, value] as [string, unknown],
  );
  return example === undefined ? named : [["", example], ...named];
}
